"""Renders one-page invoices in one way, in a process of its own, and tells the CPU that it took.

Read from standard input: how many to render. Written: a line of JSON for each.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import ITIMER_PROF, SIGPROF, setitimer, signal
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import weasyprint

from jobs.invoices import samples
from jobs.invoices.page import build, request
from jobs.invoices.samples_parts import ASSETS
from worker.adapters.pdf_page import Attachment, Page
from worker.adapters.pdf_render import Renderer

DOCUMENT = request(samples.invoice(), ASSETS)
PARTS = {
    "build": "build the page", "_parsed": "parse", "_build_layout_context": "styles",
    "build_formatting_structure": "boxes", "layout_document": "layout", "paint": "draw",
    "build_fonts_dictionary": "fonts", "add_tags": "tags", "_use_references": "pictures", "write": "write",
}  # fmt: skip
"""Functions under which time is counted, the outermost of them."""


def naive() -> Callable[[], bytes]:
    """As WeasyPrint's first example does it."""

    def render() -> bytes:
        page = build(DOCUMENT)
        html: Any = weasyprint.HTML(string=page.html)
        return html.write_pdf(stylesheets=[weasyprint.CSS(string=page.stylesheet)])

    return render


def ours(change: Callable[[Page], Page]) -> Callable[[], bytes]:
    """As the pool's processes do it."""
    renderer = Renderer()
    return lambda: renderer.render(change(build(DOCUMENT)))


XML = Attachment("factur-x.xml", "text/xml", b"<line>1</line>" * 400, "Alternative")
WAYS: dict[str, Callable[[], Callable[[], bytes]]] = {
    "naive": naive,
    "ours": lambda: ours(lambda page: page),
    "untagged": lambda: ours(lambda page: replace(page, tagged=False)),
    "pdf/ua-1": lambda: ours(lambda page: replace(page, variant="pdf/ua-1")),
    "pdf/a-3b": lambda: ours(lambda page: replace(page, variant="pdf/a-3b", attachments=(XML,))),
}


def sampled(render: Callable[[], bytes], count: int) -> dict[str, float]:
    """Where the time goes: the share of each part."""
    seen: Counter[str] = Counter()

    def look(_number: int, frame: FrameType | None) -> None:
        part = "rest"
        while frame is not None:
            part = PARTS.get(frame.f_code.co_name, part)
            frame = frame.f_back
        seen[part] += 1

    signal(SIGPROF, look)
    setitimer(ITIMER_PROF, 0.001, 0.001)
    for _ in range(count):
        render()
    setitimer(ITIMER_PROF, 0)
    return {part: times / seen.total() for part, times in seen.most_common()}


def main() -> None:
    """Answer until nothing is asked any more."""
    render = WAYS[sys.argv[1]]()
    for _ in range(3):
        render()
    for line in sys.stdin:
        if line.startswith("where"):
            told: object = sampled(render, 60)
        else:
            before = time.process_time()
            for _ in range(int(line)):
                render()
            told = (time.process_time() - before) / int(line)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
