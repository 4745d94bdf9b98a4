"""Comparisons with Stripe in words and as JSON, for the terminal, the API and the dashboard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

from db.operators.filters import BadFilterError, one_of
from db.states import DifferenceClass
from intake.dunning import money
from intake.overview import age, jsonable, without_secrets
from jobs.reconciliation.lists import EVENTS_KEPT
from jobs.reconciliation.report import Report, Told, report_from

MENDABLE = frozenset(DifferenceClass) - {DifferenceClass.MISSING_THERE}
"""What Stripe's data can put right: what Stripe does not know, a person decides."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A class of differences in words."""

    means: str
    do: str


REPAIR = "Mend it with `billing reconcile --repair`"

MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "missing_here": Meaning("Stripe has it, our books do not", REPAIR),
        "missing_there": Meaning(
            "our books have it, Stripe does not know it",
            "It is never mended by itself: is it the right key and account? Was it deleted at Stripe? Then dismiss it",
        ),
        "amount": Meaning("an amount differs", "Stripe's amount is the one that counts: `billing reconcile --repair`"),
        "currency": Meaning(
            "the currency differs", "Mend it with `billing reconcile --repair`, and ask how that came about"
        ),
        "status": Meaning("it stands otherwise at Stripe", REPAIR),
        "period": Meaning("a date differs", REPAIR),
        "fee": Meaning("Stripe's fee or the net amount differs", REPAIR),
        "refund": Meaning("more or less was given back", REPAIR),
        "duplicate": Meaning(
            "it is there twice",
            "A row too many of ours: `billing reconcile --repair`. Money that moved twice: give it back, dismiss it",
        ),
    }
)

TOLD = ("asked_by", "error", "here", "there", "why", "report", "audit")
"""Texts that came from outside."""


def classes(field: str, value: str | None) -> frozenset[DifferenceClass]:
    """Classes that can be mended, separated by commas. Raises BadFilterError with the nearest one."""
    if value is None:
        return MENDABLE
    found = {one_of(field, name, DifferenceClass) for name in value.replace(",", " ").split()} - {None}
    if DifferenceClass.MISSING_THERE in found:
        raise BadFilterError(field, "missing_there is never mended by itself: look at it, then dismiss it")
    if not found:
        raise BadFilterError(field, f"names no class: {', '.join(sorted(MENDABLE))}")
    return frozenset(one for one in found if one is not None)


def value(told: str | None, currency: str | None) -> str:
    """A side of a difference: amounts with their currency, times to the second, nothing as a dash."""
    if told is None:
        return "-"
    if currency and told.lstrip("-").isdecimal():
        return money(int(told), currency)
    try:
        return f"{datetime.fromisoformat(told):%Y-%m-%d %H:%M:%S}" if "T" in told else told
    except ValueError:
        return told


def sides(one: Told | Mapping[str, Any]) -> tuple[str, str]:
    """Both sides of a difference as they are shown; of a whole object that is missing, where it is."""
    class_, _, field = where(one)
    here, there, currency = (
        (one.here, one.there, one.currency) if isinstance(one, Told) else (one["here"], one["there"], one["currency"])
    )
    if field or class_ not in {"missing_here", "missing_there"}:
        return value(here, currency), value(there, currency)
    has = here if class_ == "missing_there" else there
    shown = "there" if has is None else value(has, currency)
    return ("missing", shown) if class_ == "missing_here" else (shown, "missing")


def many(count: int, thing: str) -> str:
    """`1 event`, `1,204 events`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def amount(cents: int, currency: str) -> str:
    """Minor units without the currency's name: `1,204.00`."""
    return money(cents, currency).rpartition(" ")[0]


def run_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run as JSON that may be shown; its figures stand beside the report."""
    shown = {name: without_secrets(jsonable(one)) if name in TOLD else one for name, one in row.items()}
    kept = row["report"]
    figures = dict.fromkeys(("found", "mended", "left", "waiting", "skipped", "requests", "milliseconds"))
    if kept:
        figures = {name: kept.get(name) for name in figures}
    return jsonable(shown | figures)


def difference_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A difference as JSON that may be shown."""
    shown = {name: without_secrets(one) if name in TOLD else one for name, one in row.items()}
    return jsonable(shown)


def story_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """A run with its differences."""
    return run_json(row) | {"differences": [difference_json(one) for one in row["differences"]]}


def took(milliseconds: int | None) -> str:
    """How long it took: `83 s`, `4 min`."""
    return "" if milliseconds is None else age(milliseconds / 1000)


def spans(since: str, until: str) -> str:
    """`2026-11-20 06:00 to 2026-11-21 06:00`."""
    return f"{since[:16].replace('T', ' ')} to {until[:16].replace('T', ' ')}"


def kept(row: Mapping[str, Any]) -> Report | None:
    """The report of a run that was done."""
    return report_from(row["report"]) if row.get("report") else None


def compared(report: Report) -> str:
    """What was compared, in one line."""
    names = [f"{count:,} {_many(kind, count)}" for kind, count in report.compared.items() if count]
    return ", ".join(names) or "nothing"


def _many(kind: str, count: int) -> str:
    words = kind.replace("_", " ")
    return words if count == 1 else f"{words}s"


def where(one: Told | Mapping[str, Any]) -> tuple[str, str, str]:
    """Class, object and column of a difference."""
    if isinstance(one, Told):
        return one.class_, f"{one.kind} {one.object_id}", one.field
    return one["class"], f"{one['kind']} {one['object_id']}", one["field"]


def verdict(report: Report) -> str:
    """What it came to, in one line."""
    found, left = report.found, report.left
    if report.skipped:
        return f"{_objects(report.skipped)} could not be compared; {_differences(found)} in the others"
    if not found:
        return _agreed(report)
    if report.dry_run:
        return f"{_differences(found)}: {report.mended:,} would be mended, {left:,} would remain; nothing was changed"
    if not left:
        return f"{_differences(found)}, all mended from Stripe's data"
    mended = f", {report.mended:,} of them mended" if report.mended else ""
    return f"{_differences(found)}{mended}; {left:,} {'remains' if left == 1 else 'remain'}"


def _agreed(report: Report) -> str:
    """What it came to, when no difference was found."""
    if report.overdue:
        return f"{_objects(report.overdue)} could not be compared for a day: what they wait for does not come"
    if report.events.unread:
        return f"{_events(report.events.unread)} of Stripe's could not be read; nothing else differs"
    if report.events.late:
        return f"{_events(report.events.late)} of Stripe's never came, for more than a day; nothing else differs"
    return "our books agree with Stripe"


def _differences(count: int) -> str:
    return many(count, "difference")


def _objects(count: int) -> str:
    return many(count, "object")


def _events(count: int) -> str:
    return many(count, "event")


def next_steps(report: Report) -> list[str]:
    """What to do now; empty when there is nothing to do."""
    steps: list[str] = []
    missed = report.events.missed - report.events.put
    if missed > 0:
        events = f"{_events(missed)} of Stripe's never came to our inbox"
        days = (report.until - (report.events.since or report.since)) // timedelta(days=1) + 1
        steps.append(
            f"{events}: `billing reconcile --repair` fetches them, and so does "
            f"`billing events backfill --since {min(days, EVENTS_KEPT.days)}d`"
        )
    if report.events.unread:
        steps.append(f"{_events(report.events.unread)} of Stripe's could not be read: a worker's log names them")
    if report.events.dead:
        steps.append(f"{_events(report.events.dead)} lie in the inbox, given up: `billing events list --status dead`")
    if waiting := report.waiting - report.overdue:
        steps.append(f"{_objects(waiting)} may still be told of by a webhook: the next run looks again")
    if report.overdue:
        steps.append(
            f"{_objects(report.overdue)} waited for a day and more: `billing events list --status retrying` shows "
            "what is not applied"
        )
        steps += [f"{one.kind} {one.object_id} waits: {one.why}" for one in report.waits[:3]]
    steps += [f"{one.kind} {one.object_id} could not be compared: {one.why}" for one in report.skips[:3]]
    left = {name: one.found - one.mended for name, one in report.classes.items() if one.found > one.mended}
    for name, count in left.items():
        meaning = MEANINGS[name]
        steps.append(f"{name} ({count:,}): {meaning.means}. {meaning.do}")
    if left and not report.repairs:
        steps.append("`billing reconcile --dry-run` shows what a repair would mend; nothing is changed by it")
    if left:
        steps.append(
            "`billing reconcile differences` lists what is open; `billing reconcile dismiss ID --why '…'` puts one away"
        )
    return steps


def stuck(found: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of which accounts the differences cannot be looked at any more, and what to do about that."""
    named = {one["stripe_account"] for one in found if not one["settled_at"]}
    return [
        f"{one['stripe_account']} could not be compared ({without_secrets(one['error'] or '')}): its differences stay "
        f"as they are. Was it disconnected? billing reconcile dismiss --account {one['stripe_account']} --why '…'"
        for one in failed
        if one["stripe_account"] in named
    ]


def totals(report: Report) -> Sequence[tuple[str, str, str, str, str]]:
    """Currency, sort of money, our books, Stripe, difference; in the order of a statement."""
    order = ("charges", "refunds", "disputes", "fees", "other_fees", "payouts")
    rows = sorted(report.totals, key=lambda one: (one.currency, order.index(one.money) if one.money in order else 9))
    return [
        (
            one.currency.upper(),
            one.money.replace("_", " "),
            amount(one.here, one.currency),
            amount(one.there, one.currency),
            amount(one.difference, one.currency) if one.difference else "",
        )
        for one in rows
    ]
