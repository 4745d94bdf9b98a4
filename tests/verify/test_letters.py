"""A letter of dunning is held against what was known here when it went out, not against the day of the payment."""

from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.verify.kit import NOW, WELL, look, write

NAME = "no-letter-after-payment"
EARLY, LATE = "2026-02-27 12:00Z", "2026-03-01 11:00Z"
"""Half a day after the payment, and a day after the letter."""

SENT = (
    "DELETE FROM emails",
    "UPDATE invoices SET paid_at = '2026-02-27Z' WHERE id = 1",
    (
        "UPDATE invoices SET status = 'paid', paid_at = '2026-02-27Z', amount_paid_cents = 10500,"
        " amount_remaining_cents = 0 WHERE id = 2"
    ),
    "UPDATE manual_payments SET amount_cents = 10500, paid_at = '2026-02-27Z'",
)


def letter(invoice: str) -> str:
    """A letter about `invoice`, the morning after its payment."""
    return f"""
        INSERT INTO emails (key, message_id, template, recipient, stripe_invoice_id, context, status, occurred_at,
                            created_at, sent_at)
        SELECT 'dunning/{invoice}/0', 'm9', 'payment_failed', 'a@example.com', (SELECT stripe_invoice_id FROM invoices
               WHERE stripe_invoice_id = '{invoice}'), '{{}}', 'sent', at, at, at
        FROM (SELECT TIMESTAMPTZ '2026-02-28 08:00Z' AS at) AS sent
    """  # noqa: S608 - constants of this test


def heard(at: str) -> str:
    """The event that tells of the payment came in."""
    return f"""
        UPDATE webhook_events SET object_id = 'in_1', customer_id = 'cus_1', received_at = '{at}' WHERE id = 'evt_1'
    """  # noqa: S608 - constants of this test


def closed(at: str, outcome: str, *, own: bool = False) -> str:
    """The case ended."""
    about = "NULL, 2" if own else "'in_1', 1"
    return f"""
        INSERT INTO dunning_cases (stripe_invoice_id, invoice_id, opened_by, currency, amount_cents, policy, steps,
                                   hours, failed_at, opened_at, status, outcome, closed_at)
        VALUES ({about}, 'payment_failed', 'usd', 5000, 'standard', '[]', '{{}}', '2026-02-20Z', '2026-02-20Z',
                'closed', '{outcome}', '{at}')
    """  # noqa: S608 - constants of this test


def recorded(at: str) -> str:
    """Somebody read the bank's statement."""
    return f"UPDATE manual_payments SET recorded_at = '{at}'"  # noqa: S608 - constants of this test


def another(at: str) -> str:
    """Another transfer of the same day was recorded at another time."""
    return f"""
        INSERT INTO manual_payments (invoice_id, amount_cents, currency, method, reference, paid_at, recorded_at,
                                     recorded_by)
        VALUES (2, 1, 'usd', 'bank_transfer', 'tx 2', '2026-02-27Z', '{at}', 'ada')
    """  # noqa: S608 - constants of this test


KNOWN = {
    "nothing tells that anybody knew later": ("in_1", (), 1),
    "Stripe's event came late": ("in_1", (heard(LATE), closed(LATE, "recovered")), 0),
    "the event came late, and there was no case": ("in_1", (heard(LATE),), 0),
    "Stripe was asked, and the case ended late": ("in_1", (closed(LATE, "recovered"),), 0),
    "the case had ended": ("in_1", (closed(EARLY, "recovered"), heard(LATE)), 1),
    "the event lay in the inbox": ("in_1", (heard(EARLY), closed(LATE, "recovered")), 1),
    "the case was lost before it was paid": ("in_1", (closed(EARLY, "lost"), heard(LATE)), 0),
    "the transfer was recorded late": ("own-2", (recorded(LATE),), 0),
    "the transfer was recorded": ("own-2", (recorded(EARLY),), 1),
    "the second of two transfers was recorded late": ("own-2", (recorded(EARLY), another(LATE)), 0),
    "too much came later": ("own-2", (recorded(EARLY), another(LATE), closed(EARLY, "recovered", own=True)), 1),
}


@pytest.mark.parametrize(("invoice", "knew", "broken"), KNOWN.values(), ids=KNOWN)
async def test_a_letter_is_wrong_once_the_payment_was_known(
    engine: AsyncEngine, invoice: str, knew: tuple[str, ...], broken: int
) -> None:
    await write(engine, *WELL, *SENT, letter(invoice), *knew)
    for whole in (True, False):
        found = await look(engine, NAME, whole=whole)
        assert found.broken == broken, (whole, found)


async def test_a_transfer_that_is_recorded_days_later_breaks_nothing(engine: AsyncEngine) -> None:
    """The money came on Friday, a reminder went out on Saturday, and somebody read the statement on Sunday."""
    await write(engine, *WELL, *SENT, letter("own-2"), recorded(LATE))
    for name in ("own-invoices-settled", NAME):
        assert (await look(engine, name, whole=True)).broken == 0


async def test_where_time_runs_fast_the_machine_s_time_of_an_event_does_not_count(engine: AsyncEngine) -> None:
    await write(engine, *WELL, *SENT, letter("in_1"), heard("2026-01-01Z"), closed(LATE, "recovered"))
    assert (await look(engine, NAME, whole=True)).broken == 1
    assert (await look(engine, NAME, whole=True, ahead=timedelta(days=50))).broken == 0


async def test_a_letter_is_told_for_a_week(engine: AsyncEngine) -> None:
    await write(engine, *WELL, *SENT, letter("in_1"))
    for days, broken in ((5, 1), (8, 0), (300, 0)):
        assert (await look(engine, NAME, whole=True, now=NOW + timedelta(days=days))).broken == broken
