"""Letters as operators read them, at a terminal, by the API or on the dashboard."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from intake.overview import story_json, without_secrets
from jobs.mail.brand import Brand, brand_from
from jobs.mail.render import Rendered
from jobs.mail.render import render as written
from worker.errors import Refused
from worker.settings import ConfigurationError, Settings


def letter_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A letter that may be shown: what it tells, without card numbers and keys."""
    shown = story_json(row)
    for field in ("reason", "context", "suppressed"):
        if field in shown:
            shown[field] = without_secrets(shown[field])
    if "resent" in shown:
        shown["resent"] = [letter_json(one) for one in shown["resent"]]
    return shown


def suppressed_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A suppressed address that may be shown."""
    return {**story_json(row), "reason": without_secrets(row["reason"])}


def written_now(story: Mapping[str, Any], settings: Settings) -> tuple[Rendered, Brand] | str:
    """The letter as it would be written now: its facts are kept, its words are the templates'. Or why it cannot be."""
    try:
        brand = brand_from(settings)
        made = written(
            story["template"], story["context"], locale=story["locale"], timezone=story["timezone"], brand=brand
        )
    except (Refused, ConfigurationError) as error:
        return f"cannot be written: {error}"
    return made, brand


def text_now(story: Mapping[str, Any], settings: Settings) -> str:
    """Subject and text of the same, for reading."""
    found = written_now(story, settings)
    return found if isinstance(found, str) else f"{found[0].subject}\n\n{found[0].text}"


def standing_alone(rendered: Rendered, brand: Brand) -> str:
    """The letter's HTML as one file for a browser, which knows no `cid:`: the logo is written into it."""
    if brand.logo is None:
        return rendered.html
    data = f"data:image/{brand.logo.subtype};base64,{b64encode(brand.logo.data).decode()}"
    return rendered.html.replace(f"cid:{brand.logo.cid}", data)
