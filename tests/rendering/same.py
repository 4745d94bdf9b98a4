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
    (
        '<p style="letter-spacing: 1pt">AVATAR To. office fi ffl</p><p style="letter-spacing: -0.4pt">AVATAR To.</p>'
        '<p style="font-size: 0.4px">tiny</p><p style="font-size: 0.9pt">low</p><p style="word-spacing: -1pt">a b c</p>'
    ),
    (
        '<p dir="rtl">بِسْمِ اللَّهِ الرَّحْمٰنِ 123 abc</p><p dir="rtl">שָׁלוֹם <b>עולם</b></p><p lang="th">น้ำที่นี่ ก็ ปู่</p>'
        "<p>e\u0301 A\u030a\u0323 x\u0338 \u200b\u00ad \u2066a\u2069 \ue000 \U0001f600</p>"
    ),
    '<div style="width: 60px; white-space: nowrap; overflow: hidden; text-overflow: ellipsis">far too long</div>'
    '<div style="width: 80px; max-lines: 2; block-ellipsis: auto; overflow: hidden">'
    + "words that go on " * 9
    + "</div>",
    (
        '<p style="outline: 2pt solid #00f">outlined <b style="outline: 1px dashed">twice</b></p>'
        '<p style="visibility: hidden; background: #eee">hidden</p><p style="box-shadow: 1px 1px 2px #000">shadow</p>'
        '<p style="background: linear-gradient(#f00, #00f)">gradient <span style="background: #ff0">yellow</span></p>'
    ),
    '<table dir="rtl"><tr><td style="border: 1pt solid #0f0">א</td><td>b</td></tr></table>'
    '<div dir="rtl"><p style="float: left; width: 20%">left</p><p>' + "around it " * 20 + "</p></div>"
    '<p style="float: left; width: 20%">left</p><p style="text-indent: 2em">' + "around it " * 30 + "</p>",
    (
        '<p>H<sub>2</sub>O E=mc<sup>2</sup> <span style="font-variant: small-caps">Caps</span> '
        '<span style="font-feature-settings: &quot;tnum&quot;">1,234.50</span> <i>italic <b>bold</b></i></p>'
        '<p style="transform: rotate(3deg); opacity: 0.5; color: rgba(1, 2, 3, 0.4)">turned</p>'
    ),
    "<p>" + "A page of its own. " * 4 + '</p><p style="break-before: page">two</p><p style="break-before: page">3</p>',
    '<table><tr><td style="position: absolute; right: 0">out</td><td style="position: fixed">too</td></tr></table>',
    '<link rel="other" href="data:,x"/><STYLE>p { color: blue }</STYLE><p id="a" class="a&#9;b">classes</p>',
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
