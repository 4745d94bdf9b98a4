"""A one-page invoice of ten lines (or of as many as asked), for measuring the renderer by itself."""

import json
from datetime import UTC, datetime

import jinja2

from worker.adapters.pdf_page import Attachment, Page

STYLESHEET = """
@page { size: A4; margin: 20mm 18mm 24mm 18mm;
  @bottom-left { content: "Acme Cloud GmbH · Amtsgericht Berlin HRB 12345"; font-size: 7.5pt; color: #667 }
  @bottom-right { content: "Page " counter(page) " of " counter(pages); font-size: 7.5pt; color: #667 } }
html { font: 9.5pt/1.4 "Noto Sans", sans-serif; color: #1b1f2a }
body { margin: 0 }
.brand { font-size: 18pt; font-weight: 700; color: #3552d1 }
.head { width: 100%; table-layout: fixed; border-collapse: collapse; margin-bottom: 8mm }
.head td { vertical-align: top; padding: 0 }
.right { text-align: right }
.small { font-size: 8pt; color: #556 }
h1 { font-size: 15pt; margin: 0 0 4mm 0; font-weight: 700 }
.facts { width: 100%; table-layout: fixed; border-collapse: collapse; margin-bottom: 6mm }
.facts td { padding: 0.6mm 0; vertical-align: top }
.facts .label { color: #667; width: 32mm }
.lines { width: 100%; table-layout: fixed; border-collapse: collapse }
.lines th { text-align: left; font-weight: 700; font-size: 8pt; border-bottom: 0.5pt solid #1b1f2a; padding: 1.5mm 0 }
.lines td { border-bottom: 0.25pt solid #ccd; padding: 1.6mm 0; vertical-align: top }
.lines tr { break-inside: avoid }
.lines .number { text-align: right }
.totals { width: 80mm; margin-left: auto; table-layout: fixed; border-collapse: collapse; margin-top: 4mm }
.totals { break-inside: avoid }
.totals td { padding: 0.8mm 0 }
.totals .due td { font-weight: 700; border-top: 0.5pt solid #1b1f2a; font-size: 11pt; padding-top: 1.6mm }
.note { margin-top: 8mm; font-size: 8.5pt }
a { color: #3552d1; text-decoration: none }
"""

HTML = """<html lang="en"><head><title>{{ number }}</title></head><body>
<table class="head"><tr><td class="brand">Acme Cloud</td>
<td class="right small">Acme Cloud GmbH<br/>Unter den Linden 1<br/>10117 Berlin<br/>DE123456789</td></tr></table>
<h1>Invoice {{ number }}</h1>
<table class="facts"><tr><td class="label">Bill to</td><td>{{ buyer }}<br/>Karl-Marx-Straße 7<br/>12043 Berlin</td>
<td class="label">Invoice number</td><td>{{ number }}</td></tr>
<tr><td class="label">Period</td><td>November 2026</td><td class="label">Issued</td><td>21 November 2026</td></tr>
<tr><td class="label">VAT id</td><td>DE987654321</td><td class="label">Due</td><td>5 December 2026</td></tr></table>
<table class="lines"><thead><tr><th style="width: 50%">Description</th><th class="number">Quantity</th>
<th class="number">Unit price</th><th class="number">Amount</th></tr></thead><tbody>
{% for line in lines %}<tr><td>{{ line.text }}<br/><span class="small">{{ line.detail }}</span></td>
<td class="number">{{ line.quantity }}</td><td class="number">{{ line.price }}</td>
<td class="number">{{ line.amount }}</td></tr>
{% endfor %}</tbody></table>
<table class="totals"><tr><td>Subtotal</td><td class="right">€4,310.00</td></tr>
<tr><td>Discount “Autumn” (10 %)</td><td class="right">-€431.00</td></tr>
<tr><td>VAT 19 % on €3,879.00</td><td class="right">€737.01</td></tr>
<tr class="due"><td>Amount due</td><td class="right">€4,616.01</td></tr></table>
<p class="note">Please pay within 14 days: <a href="https://pay.example.com/{{ number }}">pay online</a>, or transfer to
IBAN DE02 1203 0000 0000 2020 51, BIC BYLADEM1001. Thank you for your business.</p>
</body></html>"""

TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(HTML)


def request(number: int, *, lines: int = 10, variant: str | None = None, tagged: bool = True) -> bytes:
    """The document of one invoice; each number makes another one."""
    return json.dumps(
        {
            "number": f"API-202611-{number:05}",
            "buyer": f"Müller & Söhne Nr. {number} GmbH",
            "lines": [
                {
                    "text": f"Requests, {('search', 'vision', 'speech')[index % 3]} API, tier {index + 1}",
                    "detail": f"{index * 1000 + 1:,} to {index * 1000 + 1000:,} requests in November 2026",
                    "quantity": f"{(number * 37 + index * 101) % 9000 + 1000:,}",
                    "price": f"€0.0{index % 9 + 1}",
                    "amount": f"€{(number * 17 + index * 13) % 900}.{(number + index) % 90 + 10}",
                }
                for index in range(lines)
            ],
            "variant": variant,
            "tagged": tagged,
        }
    ).encode()


def build(document: bytes) -> Page:
    """The page of one invoice."""
    content = json.loads(document)
    variant = content["variant"]
    attached = Attachment("factur-x.xml", "text/xml", b"<invoice>" + b"<line/>" * 300 + b"</invoice>", "Alternative")
    return Page(
        html=TEMPLATE.render(content),
        stylesheet=STYLESHEET,
        title=content["number"],
        language="en",
        created=datetime(2026, 11, 21, tzinfo=UTC),
        author="Acme Cloud GmbH",
        tagged=content["tagged"],
        variant=variant,
        attachments=(attached,) if variant else (),
    )
