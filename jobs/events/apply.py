"""Events of Stripe are applied to the books: read, locked, merged, and what follows from them derived and staged."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence

import jobs.events
from db.inbox import StoredEvent
from db.ledger import Fact
from jobs.derive.books import Entry, enter, hold
from jobs.follow import follow
from jobs.mrr.mend import stage_wanted
from jobs.stripe_objects import READERS, StripeEvent, event_from, parse
from worker.deps import Tx
from worker.registry import Applied, Busy, Outcome, applies_events

for _module in pkgutil.iter_modules(jobs.events.__path__, prefix="jobs.events."):
    if _module.name != __name__:
        importlib.import_module(_module.name)


def read(event: StoredEvent) -> StripeEvent | None:
    """The event as the readers see it; None when nobody handles its type. Raises Malformed when it cannot be read."""
    if event.type not in READERS:
        return None
    return event_from(
        parse(event.payload),
        event_id=event.id,
        event_type=event.type,
        livemode=event.livemode,
        account=event.account,
    )


def facts_of(event: StripeEvent) -> list[Fact]:
    """The facts of an event whose type is handled."""
    return list(READERS[event.type](event))


@applies_events
async def apply_events(tx: Tx, events: Sequence[StoredEvent]) -> Mapping[str, Outcome]:
    """Apply a batch in one transaction. An event that cannot be read fails alone; one whose locks are held is Busy."""
    outcomes: dict[str, Outcome] = {}
    entries: list[Entry] = []
    known: dict[str, StripeEvent] = {}
    for event in events:
        try:
            seen = read(event)
            facts = facts_of(seen) if seen is not None else None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one event is that event's outcome
            outcomes[event.id] = error
            continue
        if seen is None or facts is None:
            outcomes[event.id] = Applied(ignored=f"no handler for {event.type}")
        else:
            entries.append(Entry(event.id, facts))
            known[event.id] = seen
    free = await hold(tx.conn, entries)
    for entry in entries:
        outcomes[entry.id] = Busy()
    if free:
        await stage_wanted(tx, await enter(tx, free), free)
        await follow(tx, [known[entry.id] for entry in free])
    for entry in free:
        outcomes[entry.id] = Applied(effects=entry.effects())
    return outcomes
