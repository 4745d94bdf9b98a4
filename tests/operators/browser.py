"""A person at a browser: the machine's Chromium without a window, driven by Playwright."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from playwright.async_api import Page, async_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

WIDE = (1280, 900)
"""A window on a desk, in pixels."""


@asynccontextmanager
async def browser(url: str, cookie: tuple[str, str], *, size: tuple[int, int] = WIDE) -> AsyncGenerator[Page]:
    """A tab with an empty profile but for a cookie (name and value) of `url`."""
    async with async_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        width, height = size
        context = await chromium.new_context(base_url=url, viewport={"width": width, "height": height})
        name, value = cookie
        await context.add_cookies([{"name": name, "value": value, "url": url}])
        yield await context.new_page()
        await chromium.close()
