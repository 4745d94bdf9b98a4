"""The internal door tells of invoices and documents, and hands out the PDF as it is stored."""

from tests.invoices.books import PDF, InvoiceBooks
from tests.operators.door import TOKEN, Door
from tests.operators.test_dashboard import sign_in

BEARER = {"Authorization": f"Bearer {TOKEN}"}


async def test_the_list_and_the_story_of_an_invoice(admin: Door, ledger: InvoiceBooks) -> None:
    await ledger.user()
    first = await ledger.invoice()
    await ledger.invoice("in_2", "A-0002", status="paid", amount_remaining_cents=0)
    await ledger.document()
    await ledger.document("receipt/ch_1", kind="receipt", number="ch_1", stripe_object_id="ch_1", stored=False)
    page = (await admin.get("/admin/invoices", headers=BEARER)).json()
    assert [(one["stripe_invoice_id"], one["document_status"], one["name"]) for one in page["invoices"]] == [
        ("in_2", None, "Jane Roe"),
        ("in_1", "stored", "Jane Roe"),
    ]
    page = (await admin.get("/admin/invoices?status=paid&limit=1", headers=BEARER)).json()
    assert ([one["stripe_invoice_id"] for one in page["invoices"]], page["next"]) == (["in_2"], first + 1)
    for ref in ("in_1", "A-0001", str(first)):
        told = (await admin.get(f"/admin/invoices/{ref}", headers=BEARER)).json()
        assert told["invoice"]["total_cents"] == 11_900
        assert told["document"]["key"] == "invoice/in_1"
        assert [one["key"] for one in told["documents"]] == ["invoice/in_1", "receipt/ch_1"]
    wrong = await admin.get("/admin/invoices?status=payed", headers=BEARER)
    assert (wrong.status_code, "did you mean 'paid'" in wrong.text) == (422, True)


async def test_the_pdf_as_it_is_stored(admin: Door, ledger: InvoiceBooks) -> None:
    await ledger.invoice(number="2026/0001 ä")
    made = await ledger.document(number="2026/0001 ä")
    for path in ("invoices/in_1/pdf", "invoices/2026/0001 ä/pdf", f"documents/{made}/pdf", "invoices/invoice/in_1/pdf"):
        answer = await admin.get(f"/admin/{path}", headers=BEARER)
        assert (answer.status_code, answer.content) == (200, PDF), path
        assert 'filename="invoice-2026-0001.pdf"' in answer.headers["content-disposition"]
    assert (await admin.get("/admin/invoices/in_1/pdf")).status_code == 401


async def test_why_there_is_no_pdf(admin: Door, ledger: InvoiceBooks) -> None:
    await ledger.invoice(invoice_pdf_url="https://pay.stripe.com/invoice/x/pdf")
    answer = await admin.get("/admin/invoices/in_1/pdf", headers=BEARER)
    assert (answer.status_code, "BILLING_STRIPE_DOCUMENTS" in answer.text) == (409, True)
    made = await ledger.document(stored=False)
    answer = await admin.get("/admin/invoices/in_1/pdf", headers=BEARER)
    assert (answer.status_code, "not rendered yet" in answer.text) == (409, True)
    await ledger.park(made, "took longer than 60 s")
    answer = await admin.get(f"/admin/documents/{made}/pdf", headers=BEARER)
    assert (answer.status_code, "was parked (took longer than 60 s)" in answer.text) == (409, True)
    for path in ("invoices/nothing/pdf", "documents/99/pdf", "invoices/nothing"):
        assert (await admin.get(f"/admin/{path}", headers=BEARER)).status_code == 404, path


async def test_why_there_is_no_xml(admin: Door, ledger: InvoiceBooks) -> None:
    await ledger.invoice()
    await ledger.document(content={"without_factur_x": ["buyer: the address has no country (BR-9, BR-11)"]})
    told = (await admin.get("/admin/invoices/in_1", headers=BEARER)).json()
    assert told["document"]["without_factur_x"] == ["buyer: the address has no country (BR-9, BR-11)"]
    await sign_in(admin)
    assert "without Factur-X: buyer: the address has no country" in (await admin.get("/invoices/in_1")).text


async def test_a_name_of_several_things_is_not_guessed_at(admin: Door, ledger: InvoiceBooks) -> None:
    first = await ledger.invoice()
    await ledger.invoice("in_2", str(first))
    answer = await admin.get(f"/admin/invoices/{first}", headers=BEARER)
    assert answer.status_code == 409
    assert f"{first} may be invoice {first} (A-0001) or invoice {first + 1} ({first})" in answer.json()["detail"]
    assert (await admin.get("/admin/invoices/in_2", headers=BEARER)).status_code == 200


async def test_documents_are_listed_with_what_is_wrong(admin: Door, ledger: InvoiceBooks) -> None:
    user = await ledger.user()
    await ledger.document(user_id=user)
    note = await ledger.document(
        "credit_note/cn_1", kind="credit_note", number="CN-1", stripe_object_id="cn_1", stored=False
    )
    await ledger.park(note, "does not add up")
    page = (await admin.get("/admin/documents", headers=BEARER)).json()
    assert [(one["key"], one["status"], one["reason"], one["name"]) for one in page["documents"]] == [
        ("credit_note/cn_1", "dead", "does not add up", None),
        ("invoice/in_1", "stored", None, "Jane Roe"),
    ]
    page = (await admin.get("/admin/documents?kind=invoice&customer=cus_1&status=stored", headers=BEARER)).json()
    assert [one["key"] for one in page["documents"]] == ["invoice/in_1"]


async def test_the_dashboard_has_pages_and_downloads(admin: Door, ledger: InvoiceBooks) -> None:
    await ledger.user(name="<b>Roe</b>")
    await ledger.invoice()
    made = await ledger.document()
    for path in ("/invoices", f"/documents/{made}/pdf", "/documents", "/invoices/in_1"):
        answer = await admin.get(path)
        assert (answer.status_code, answer.headers["location"][:9]) == (303, "/sign-in?"), path
    await sign_in(admin)
    listed = (await admin.get("/invoices")).text
    assert "119.00 EUR" in listed
    assert "&lt;b&gt;Roe" in listed
    assert f'href="/documents/{made}/pdf"' in listed
    story = (await admin.get("/invoices/in_1")).text
    assert "invoice/in_1" in story
    assert (await admin.get("/invoices/invoice/in_1")).status_code == 200
    documents = (await admin.get("/documents?kind=invoice")).text
    assert f'href="/documents/{made}/pdf"' in documents
    assert (await admin.get(f"/documents/{made}/pdf")).content == PDF
    assert (await admin.get("/invoices/nothing")).status_code == 404
