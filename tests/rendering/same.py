"""Renders pages with WeasyPrint as it is, then with what pdf_speed.py replaces, and says whether they differ."""

import sys

from jobs.invoices import samples
from jobs.invoices.page import build, request
from jobs.invoices.samples_parts import ASSETS
from tests.bench import documents_page
from tests.rendering.builders import STYLE, page
from worker.adapters.pdf_page import Page
from worker.adapters.pdf_render import Renderer

MARKUP = (
    '<h1 id="top">Heading</h1><p>One <b>two <i>three</i></b> <a href="#top">up</a> <u>under</u> <s>struck</s></p>',
    '<div style="width: 50%; padding: 5%; border: 1pt solid #f00">half<div style="margin: 10% auto">inside</div></div>',
    '<p lang="ja">請求書</p><p lang="zh-Hans">請求書</p><p dir="rtl">שלום 12 עולם</p><p>Ελληνικά Русский ไทย</p>',
    '<table class="long"><tr><td>Donaudampfschifffahrtsgesellschaftskapitän</td><td>'
    + "x" * 200
    + "</td></tr></table>",
    '<p style="text-align: justify; word-spacing: 3pt">' + "many words to justify " * 30 + "</p>",
    '<style>p:first-child { color: red } .a + .a { font-weight: 700 }</style><p class="a">a</p><p class="a">b</p>',
    "<ul><li>one</li><li>two</li></ul><ol><li>one</li></ol><p>a<br/>b<wbr/>c</p><pre>  a\tb</pre>",
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><rect width="9" height="9"/></svg>',
    '<div style="display: flex"><div style="flex: 1">a</div><div style="flex: 2">b</div></div>',
    '<div style="display: grid; grid-template-columns: 1fr 2fr"><div>a</div><div>b</div></div>',
    '<p style="float: right; width: 30%">right</p><p style="position: absolute; top: 10%">above</p>',
)


def pages() -> list[Page]:
    """Pages of every kind, several of each so that what is kept is used."""
    made = [documents_page.build(documents_page.request(number, lines=lines)) for number, lines in
            enumerate((10, 10, 1, 45, 0))]  # fmt: skip
    made += [page(markup) for markup in MARKUP]
    made += [page(markup, language="ja", stylesheet=STYLE + "td { color: #123 }") for markup in MARKUP]
    made += [page(MARKUP[0], tagged=False), page(MARKUP[0], variant="pdf/a-3b"), page(MARKUP[0], variant="pdf/ua-1")]
    return made + [
        build(request(samples.long(60) if name == "long" else sample(), ASSETS))
        for name, sample in samples.SAMPLES.items()
    ]


def main() -> int:
    """Returns how many pages differ."""
    wanted = pages()
    plain = Renderer(fast=False)
    expected = [plain.render(each) for each in wanted]
    fast = Renderer()
    differing = {
        number
        for order in (range(len(wanted)), reversed(range(len(wanted))))
        for number in order
        if fast.render(wanted[number]) != expected[number]
    }
    for number in sorted(differing):
        sys.stdout.write(f"{number} of {len(wanted)}: {wanted[number].html[:300]}\n")
    return len(differing)


if __name__ == "__main__":
    sys.exit(min(main(), 100))
