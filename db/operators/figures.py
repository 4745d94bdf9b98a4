"""What dunning brings in: how many invoices in arrears were paid after all, how much that was, how soon, after what."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import DateTime

from db.states import CaseOutcome

Figures: TypeAlias = dict[str, Any]

RECOVERED = CaseOutcome.RECOVERED
MISSED = frozenset({CaseOutcome.LOST, CaseOutcome.CANCELED})
"""Outcomes in which the money never came. Where nothing was owed any more (void, refunded, disputed, exempt) it counts
neither way."""

# An invoice of ours and Stripe's that collects it are the same money: where both were dunned, ours counts.
_PERIOD = """
    (CAST(:since AS timestamptz) IS NULL OR c.opened_at >= :since) AND (:until IS NULL OR c.opened_at < :until)
    AND NOT EXISTS (
        SELECT FROM invoices s
        JOIN dunning_cases o ON o.stripe_invoice_id IS NULL AND o.invoice_id = s.collects_invoice_id
        WHERE s.stripe_invoice_id = c.stripe_invoice_id
    )
"""
_BOUND = (bindparam("since", type_=DateTime(timezone=True)), bindparam("until", type_=DateTime(timezone=True)))
_CASES = text(
    f"""
    SELECT c.currency, c.decline_code, coalesce(c.outcome, c.status) AS state, count(*) AS cases,
           sum(c.amount_cents - c.credited_cents)::bigint AS amount_cents,
           coalesce(sum(c.recovered_cents), 0)::bigint AS recovered_cents
    FROM dunning_cases c WHERE {_PERIOD} GROUP BY 1, 2, 3
    """  # noqa: S608 - constants
).bindparams(*_BOUND)
# The payment's own time: an event that came late does not make the customer slower.
_DAYS = text(
    f"""
    SELECT GROUPING(c.currency, c.decline_code, c.recovered_after_step) AS kind, c.currency, c.decline_code,
           c.recovered_after_step AS position, s.letter, percentile_disc(0.5) WITHIN GROUP (
        ORDER BY greatest(
            floor(extract(epoch FROM coalesce(i.paid_at, o.paid_at, c.closed_at) - c.failed_at))::bigint, 0)
    ) AS seconds
    FROM dunning_cases c LEFT JOIN invoices i ON i.stripe_invoice_id = c.stripe_invoice_id
    LEFT JOIN invoices o ON c.stripe_invoice_id IS NULL AND o.id = c.invoice_id
    LEFT JOIN dunning_steps s ON s.case_id = c.id AND s.position = c.recovered_after_step
    WHERE c.outcome = 'recovered' AND {_PERIOD}
    GROUP BY GROUPING SETS ((c.currency), (c.decline_code), (c.recovered_after_step, s.letter), ())
    """  # noqa: S608 - constants
).bindparams(*_BOUND)
BY_CURRENCY, BY_CODE, BY_STEP, BY_NOTHING = 0b011, 0b101, 0b110, 0b111
"""What PostgreSQL's GROUPING says of a row: a bit for each column that it does not tell apart."""

_STEPS = text(
    f"""
    SELECT s.position, s.letter, c.currency, count(*) AS taken,
           count(*) FILTER (WHERE c.outcome = 'recovered' AND c.recovered_after_step = s.position) AS recovered,
           coalesce(sum(c.recovered_cents) FILTER (WHERE c.recovered_after_step = s.position), 0)::bigint
               AS recovered_cents
    FROM dunning_cases c JOIN dunning_steps s ON s.case_id = c.id
    WHERE s.outcome = 'taken' AND {_PERIOD} GROUP BY 1, 2, 3
    UNION ALL
    SELECT NULL, NULL, c.currency, 0, count(*), coalesce(sum(c.recovered_cents), 0)::bigint
    FROM dunning_cases c
    WHERE c.outcome = 'recovered' AND c.recovered_after_step IS NULL AND {_PERIOD} GROUP BY c.currency
    """  # noqa: S608 - constants
).bindparams(*_BOUND)


async def figures(conn: AsyncConnection, *, since: datetime | None = None, until: datetime | None = None) -> Figures:
    """The figures of the cases that were opened from `since` until `until`.

    Amounts are minor units, by currency, and never added across currencies; what was credited counts nowhere. Rates
    are basis points (10,000: all) of the decided cases, recovered or missed; None while nothing is decided.
    `median_seconds` is the lower median, from the failure to the payment. A step's `recovered` are the cases that were
    paid after it and before any other.
    """
    period = {"since": since, "until": until}
    cases = [dict(row) for row in (await conn.execute(_CASES, period)).mappings()]
    medians = [dict(row) for row in (await conn.execute(_DAYS, period)).mappings()]
    of_currency = {row["currency"]: row["seconds"] for row in medians if row["kind"] == BY_CURRENCY}
    of_code = {row["decline_code"]: row["seconds"] for row in medians if row["kind"] == BY_CODE}
    of_step = {(row["position"], row["letter"]): row["seconds"] for row in medians if row["kind"] == BY_STEP}
    steps = [dict(row) for row in (await conn.execute(_STEPS, period)).mappings()]
    outcomes: dict[str, int] = {}
    for row in cases:
        outcomes[row["state"]] = outcomes.get(row["state"], 0) + row["cases"]
    currencies = sorted({row["currency"] for row in cases})
    codes = sorted({row["decline_code"] for row in cases}, key=lambda code: (code is None, code))
    return {
        "since": since,
        "until": until,
        "cases": sum(outcomes.values()),
        "outcomes": dict(sorted(outcomes.items())),
        **_counted(cases),
        "median_seconds": next((row["seconds"] for row in medians if row["kind"] == BY_NOTHING), None),
        "currencies": [
            {"currency": code, **_counted(found), **_money(found), "median_seconds": of_currency.get(code)}
            for code in currencies
            if (found := [row for row in cases if row["currency"] == code])
        ],
        "steps": _by_step(steps, of_step),
        "decline_codes": [
            {
                "decline_code": code,
                "cases": sum(row["cases"] for row in found),
                **_counted(found),
                **_sums(found),
                "median_seconds": of_code.get(code),
            }
            for code in codes
            if (found := [row for row in cases if row["decline_code"] == code])
        ],
    }


def basis_points(part: int, whole: int) -> int | None:
    """`part` of `whole` in ten-thousandths, half up; None when there is no whole."""
    return (2 * part * 10_000 + whole) // (2 * whole) if whole > 0 else None


def _counted(rows: Iterable[Mapping[str, Any]]) -> Figures:
    recovered = decided = 0
    for row in rows:
        recovered += row["cases"] if row["state"] == RECOVERED else 0
        decided += row["cases"] if row["state"] == RECOVERED or row["state"] in MISSED else 0
    return {"decided": decided, "recovered": recovered, "rate_bp": basis_points(recovered, decided)}


def _money(rows: Iterable[Mapping[str, Any]]) -> Figures:
    found = {"open_cents": 0, "decided_cents": 0, "recovered_cents": 0}
    for row in rows:
        if row["state"] in {"open", "paused"}:
            found["open_cents"] += row["amount_cents"]
        elif row["state"] == RECOVERED or row["state"] in MISSED:
            found["decided_cents"] += row["amount_cents"]
            found["recovered_cents"] += row["recovered_cents"]
    return found | {"amount_rate_bp": basis_points(found["recovered_cents"], found["decided_cents"])}


def _sums(rows: Iterable[Mapping[str, Any]]) -> Figures:
    found: dict[str, int] = {}
    for row in rows:
        if row["recovered_cents"]:
            found[row["currency"]] = found.get(row["currency"], 0) + row["recovered_cents"]
    return {"recovered_cents": dict(sorted(found.items()))}


def _by_step(rows: Iterable[Mapping[str, Any]], medians: Mapping[tuple[int | None, str | None], int]) -> list[Figures]:
    """By position and letter; those who paid before any letter come first, without a position."""
    found: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        place = -1 if row["position"] is None else row["position"]
        found.setdefault((place, row["letter"] or ""), []).append(row)
    told: list[Figures] = []
    for (place, letter), of_it in sorted(found.items()):
        taken, recovered = sum(row["taken"] for row in of_it), sum(row["recovered"] for row in of_it)
        told.append(
            {
                "position": None if place < 0 else place,
                "letter": letter or None,
                "taken": taken,
                "recovered": recovered,
                "rate_bp": basis_points(recovered, taken),
                **_sums(of_it),
                "median_seconds": medians.get((None if place < 0 else place, letter or None)),
            }
        )
    return told
