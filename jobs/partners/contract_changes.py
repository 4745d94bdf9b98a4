"""A contract is added, changed from a day on, corrected, paused or ended; what was invoiced stays as it was agreed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from db import contracts, usage_invoices
from db.contracts import Settled
from db.operators.actions import Actor, NotAllowedError, UnknownIdsError, write_audit
from jobs.invoices.sellers import Sellers
from jobs.partners.contract_periods import moved
from jobs.partners.contract_versions import disagreements, holding, newest
from jobs.partners.contracts import FIELDS, KEPT, OF_THE_VERSION, Contract, Looked, columns, looked, read, written
from jobs.rules.billing_periods import local_day, midnight
from worker.deps import Tx
from worker.errors import Refused

DAY = timedelta(days=1)
EVER = datetime(1970, 1, 1, tzinfo=UTC)
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Changed:
    """A version as it is now, and what became other in it: the old value and the new one, as JSON."""

    contract: Contract
    changed: Mapping[str, Sequence[Any]]


def sensible(rows: Sequence[Mapping[str, Any]]) -> list[Contract]:
    """The versions of a contract. Raises Refused when one makes no sense, with all that is wrong."""
    found: list[Contract] = []
    wrong: list[str] = []
    for row in rows:
        try:
            found.append(read(row))
        except Refused as refused:
            wrong += [f"version {row['version']}: {line}" for line in refused.reason.splitlines()]
    if wrong:
        raise Refused("\n".join(wrong))
    return found


async def _raw(tx: Tx, prefix: str) -> list[dict[str, Any]]:
    await contracts.hold(tx.conn, prefix)
    rows = await contracts.versions(tx.conn, prefix)
    if not rows:
        raise UnknownIdsError("partner", [prefix])
    return rows


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in KEPT}


def _readable(rows: Sequence[Mapping[str, Any]]) -> list[Contract]:
    """The versions that make sense: others are told of elsewhere, and must not hinder their own correction."""
    found: list[Contract] = []
    for row in rows:
        try:
            found.append(read(row))
        except Refused:
            continue
    return found


async def _settled(tx: Tx, prefix: str) -> Settled | None:
    return (await contracts.settled(tx.conn, [prefix])).get(prefix)


def _last_day(settled: Settled, timezone: str) -> date:
    return local_day(settled.period_end - timedelta(microseconds=1), timezone)


def _invoiced_until(settled: Settled, timezone: str) -> str:
    what = f"invoiced as {settled.number}" if settled.number else "closed, with nothing to charge"
    first = local_day(settled.period_start, timezone)
    return f"{first} to {_last_day(settled, timezone)} was {what}"


def _free(settled: Settled | None, field: str, on: date, timezone: str) -> list[str]:
    """Why nothing can begin to hold on `on`: it lies within what was invoiced."""
    if settled is None or midnight(on, timezone) >= settled.period_end:
        return []
    first = _last_day(settled, timezone) + DAY
    why = f"{on} lies in what is settled: {_invoiced_until(settled, timezone)}"
    return [f"{field}: {why}. Choose {first} or later; for what was invoiced, give a credit, or void it and issue anew"]


def _whole(before: Sequence[Contract], after: Sequence[Contract], settled: Settled | None) -> list[str]:
    """What does not fit the whole contract, or what was invoiced of it."""
    found = disagreements(after)
    if settled is None:
        return found
    now = newest(after)
    if before and newest(before).contract_start_date != now.contract_start_date:
        found.append(
            f"contract_start_date: {_invoiced_until(settled, now.timezone)}, counted from"
            f" {newest(before).contract_start_date}: it stays"
        )
    end = now.contract_end_date
    if end is not None and midnight(end + DAY, now.timezone) < settled.period_end:
        was = newest(before).contract_end_date if before else None
        if was != end:
            found.append(
                f"contract_end_date: {end} lies in what is settled: {_invoiced_until(settled, now.timezone)}. Choose"
                f" {_last_day(settled, now.timezone)} or later, and give a credit for the rest"
            )
    return found


def _no(reason: str) -> NotAllowedError:
    return NotAllowedError([reason])


def _raise(found: Sequence[str]) -> None:
    if found:
        raise Refused("\n".join(found))


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {name: [before.get(name), after.get(name)] for name in FIELDS if before.get(name) != after.get(name)}


def _foreign(given: Mapping[str, Any]) -> list[str]:
    return [f"{name}: is given by the database: leave it out" for name in given if name in KEPT]


_STANDING = {
    "api_key_prefix": "it names the contract: add another one under the new prefix",
    "status": "`billing partners pause`, `resume` and `end` change it",
    "contract_start_date": "`billing partners correct` changes it, as long as nothing was invoiced",
    "contract_end_date": "`billing partners end` changes it",
}
"""What is the whole contract's, and how else it is changed."""

_PLACED = frozenset({"valid_from", "timezone", "contract_start_date", "contract_end_date"})
"""Without these nobody can tell where a version lies among the others."""

_WHOLE = ("status", "contract_start_date", "contract_end_date")
"""What each version tells alike."""


def _moved(before: Contract, after: Contract, *names: str) -> list[str]:
    """What was given of the whole contract where only a version is meant."""
    return [
        f"{name}: stays {getattr(before, name)}: {_STANDING[name]}"
        for name in names
        if getattr(before, name) != getattr(after, name)
    ]


async def add(tx: Tx, raw: Mapping[str, Any], by: Actor, sellers: Sellers | None = None) -> Contract:
    """Write the first version of a contract.

    Raises Refused with all mistakes, NotAllowedError where the prefix has a contract already.
    """
    found = _read(raw, raw, sellers)
    contract = found.contract
    early = contract.valid_from < contract.contract_start_date
    wrong = ["valid_from: is before contract_start_date: leave it out, it is the first day"] if early else []
    _raise([*found.wrong, *found.sure([*wrong, *disagreements([contract])])])
    await contracts.hold(tx.conn, contract.api_key_prefix)
    if await contracts.versions(tx.conn, contract.api_key_prefix):
        raise _no(
            f"{contract.api_key_prefix} has a contract: change it from a day on"
            f" (billing partners change {contract.api_key_prefix} --from …), or take another prefix"
        )
    row = await contracts.add_version(tx.conn, columns(contract), now=tx.now, who=by.who)
    assert row is not None
    made = read(row)
    await write_audit(tx.conn, by, "partners.add", made.api_key_prefix, now=tx.now, details={"terms": written(made)})
    return made


async def change(
    tx: Tx, prefix: str, on: str | date, given: Mapping[str, Any], by: Actor, *, sellers: Sellers | None = None
) -> Changed:
    """Write a new version that holds from day `on`; what `given` leaves out stays as it is agreed for that day.

    A value of None takes the default. Raises UnknownIdsError, Refused with all mistakes, NotAllowedError where a
    version holds from that very day.
    """
    rows = await _raw(tx, prefix)
    known = sensible(rows)
    whole = newest(known)
    base = holding(known, _day(on) or whole.valid_from)
    standing = {name: getattr(whole, name) for name in _STANDING}
    found = _read({**written(base), **standing, **given, "valid_from": on}, given, sellers, base)
    contract = found.contract
    wrong = _moved(whole, contract, *_STANDING)
    settled = await _settled(tx, prefix)
    if not found.unread & _PLACED:
        wrong += _free(settled, "valid_from", contract.valid_from, contract.timezone)
        if contract.valid_from < whole.contract_start_date:
            begins = whole.contract_start_date
            wrong.append(f"valid_from: the contract begins only on {begins}: choose that day or a later one")
        if contract.contract_end_date is not None and contract.valid_from > contract.contract_end_date:
            ends = contract.contract_end_date
            wrong.append(f"valid_from: the contract ends before, on {ends}: correct one of the two")
        wrong += _whole(known, [*known, contract], settled)
    _raise([*found.wrong, *found.sure(wrong)])
    if not _differences(_comparable(base), _comparable(contract)):
        raise _no(f"{prefix}: nothing would be other from {contract.valid_from} on: name what changes")
    after = [*rows, {**columns(contract), "version": max(row["version"] for row in rows) + 1}]
    await _stay(tx, prefix, rows, after, readable=True, way="Change the zone or the cycle from {day} on, or later")
    row = await contracts.add_version(tx.conn, columns(contract), now=tx.now, who=by.who)
    if row is None:
        raise _no(
            f"{prefix} has a version from {contract.valid_from} already: correct that one (billing partners"
            f" correct {prefix} --version …), or choose another day"
        )
    made = read(row)
    changed = _differences(written(base), written(made))
    details = {"version": made.version, "from": made.valid_from.isoformat(), "changed": changed}
    await write_audit(tx.conn, by, "partners.change", prefix, now=tx.now, details=details)
    return Changed(made, changed)


def _comparable(contract: Contract) -> dict[str, Any]:
    plain = written(contract)
    plain.pop("valid_from", None)
    return plain


def _day(on: str | date) -> date | None:
    try:
        return on if isinstance(on, date) else date.fromisoformat(on)
    except ValueError:
        return None


def _read(
    raw: Mapping[str, Any], given: Mapping[str, Any], sellers: Sellers | None, base: Contract | None = None
) -> Looked:
    """Read a whole version of which a part was given, the rest from `base`."""
    found = looked(raw, sellers, base=base)
    return replace(found, wrong=(*_foreign(given), *found.wrong))


async def correct(
    tx: Tx,
    prefix: str,
    given: Mapping[str, Any],
    by: Actor,
    *,
    version: int | None = None,
    sellers: Sellers | None = None,
) -> Changed:
    """Write a version anew, by default the one that holds today: what `given` leaves out stays.

    What amounts follow from stays where an invoice was issued by it. Raises UnknownIdsError, Refused with all mistakes,
    NotAllowedError with the reason.
    """
    rows = await _raw(tx, prefix)
    row = _meant(rows, prefix, version, tx.now)
    alone = len(rows) == 1 and row["valid_from"] == row["contract_start_date"] and "contract_start_date" in given
    moved = {"valid_from": None} if alone else {}
    found = _read({**_plain(row), **moved, **given}, given, sellers, next(iter(_readable([row])), None))
    contract = found.contract
    before = _written_row(row)
    changed = _differences(before, written(contract))
    if not changed and not found.wrong:
        raise _no(f"{prefix} version {row['version']} says so already")
    if not found.wrong:
        await _refuse_what_was_invoiced(tx, prefix, row, changed)
    known = _readable(rows)
    settled = await _settled(tx, prefix)
    wrong = [f"api_key_prefix: stays {prefix}: {_STANDING['api_key_prefix']}"] if "api_key_prefix" in changed else []
    if "valid_from" in changed and not found.unread & _PLACED:
        was = row["valid_from"]
        wrong += _free(settled, "valid_from", min(was, contract.valid_from), contract.timezone)
        if any(other["valid_from"] == contract.valid_from for other in rows if other["id"] != row["id"]):
            wrong.append(f"valid_from: another version holds from {contract.valid_from}: choose another day")
    stored = msgspec.structs.replace(contract, id=row["id"], version=row["version"])
    after = [*(one for one in known if one.id != row["id"]), stored]
    whole = {name: getattr(contract, name) for name in _WHOLE}
    if changed.keys() & whole.keys():
        after = [msgspec.structs.replace(one, **whole) for one in after]
    wrong += [] if found.unread & _PLACED else _whole(known, after, settled)
    _raise([*found.wrong, *found.sure(wrong)])
    plain = columns(contract)
    written_anew = [{**one, **whole, **(plain if one is row else {})} for one in rows]
    way = f"Agree on it from a day on: billing partners change {prefix} --from {{day}} …"
    await _stay(tx, prefix, rows, written_anew, readable=bool(_readable([row])), way=way)
    await contracts.correct(tx.conn, row["id"], {name: plain[name] for name in changed})
    if changed.keys() & whole.keys():
        await _set_whole(tx, prefix, contract)
    details = {"version": row["version"], "changed": changed}
    await write_audit(tx.conn, by, "partners.correct", prefix, now=tx.now, details=details)
    return Changed(stored, changed)


def _written_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as `written` tells a contract; as it is, where it makes no sense."""
    try:
        return written(read(row))
    except Refused:
        plain: dict[str, Any] = msgspec.to_builtins(_plain(row))
        return {name: value for name, value in plain.items() if value is not None}


def _meant(rows: Sequence[dict[str, Any]], prefix: str, version: int | None, now: datetime) -> dict[str, Any]:
    """The version of that number; without one, the one that holds now. Raises UnknownIdsError."""
    if version is not None:
        found = next((row for row in rows if row["version"] == version), None)
        if found is None:
            raise UnknownIdsError("version", [f"{prefix} version {version}"])
        return found
    known = _readable(rows)
    if not known:
        return rows[-1]
    held = holding(known, local_day(now, newest(known).timezone))
    return next(row for row in rows if row["id"] == held.id)


async def _stay(tx: Tx, prefix: str, before: Rows, after: Rows, *, readable: bool, way: str) -> None:
    """Raise NotAllowedError when periods that were looked at would begin or end at another instant.

    A version that made no sense may be put right: until then all of its periods were parked, and nothing was charged.
    """
    known = (await usage_invoices.known(tx.conn, EVER, prefix)).get(prefix, [])
    hit = [one for one in moved(known, before, after) if readable or one.status in {"issued", "empty"}]
    if hit:
        first, last = local_day(hit[0].start, hit[0].timezone), local_day(hit[-1].end, hit[-1].timezone)
        stands = ", ".join(dict.fromkeys(one.status for one in hit))
        raise _no(
            f"{prefix}: periods from {first} to {last} were looked at ({stands}), and would begin or end on other days:"
            f" usage would be invoiced twice, or never. {way.format(day=last)}"
        )


async def _refuse_what_was_invoiced(tx: Tx, prefix: str, row: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    fixed = [name for name in changed if name in OF_THE_VERSION]
    if not fixed:
        return
    numbers = await contracts.invoiced_by(tx.conn, row["id"])
    if numbers:
        raise _no(
            f"{prefix} version {row['version']}: {', '.join(numbers)} followed from its {', '.join(fixed)}: what was"
            f" invoiced stays. Agree on other terms from a day on: billing partners change {prefix} --from …"
        )


async def _set_whole(tx: Tx, prefix: str, says: Contract) -> None:
    await contracts.set_whole(
        tx.conn, prefix, status=says.status, start=says.contract_start_date, end=says.contract_end_date
    )


async def _stand(
    tx: Tx, prefix: str, by: Actor, status: str, *, of: Sequence[str], action: str, end: date | None = None
) -> None:
    rows = await _raw(tx, prefix)
    was = rows[-1]["status"]
    if was not in of:
        raise _no(f"{prefix} is {was}: only a contract that is {' or '.join(of)} becomes {status}")
    last = end if end is not None else rows[-1]["contract_end_date"]
    start = rows[-1]["contract_start_date"]
    await contracts.set_whole(tx.conn, prefix, status=status, start=start, end=last)
    details = {"status": [was, status]} | ({"contract_end_date": end.isoformat()} if end is not None else {})
    await write_audit(tx.conn, by, action, prefix, now=tx.now, details=details)


async def pause(tx: Tx, prefix: str, by: Actor) -> None:
    """Invoice nothing of a contract for now; its usage is counted, and caught up when it is resumed.

    Raises UnknownIdsError, NotAllowedError.
    """
    await _stand(tx, prefix, by, "paused", of=("active", "draft"), action="partners.pause")


async def resume(tx: Tx, prefix: str, by: Actor) -> None:
    """Invoice a contract again, or for the first time; the periods that were left out are caught up, oldest first.

    Raises UnknownIdsError, NotAllowedError.
    """
    await _stand(tx, prefix, by, "active", of=("paused", "draft"), action="partners.resume")


async def end(tx: Tx, prefix: str, on: date, by: Actor) -> None:
    """Let a contract end with day `on`; it is invoiced until then.

    Raises UnknownIdsError, NotAllowedError, Refused where that day lies in what was invoiced.
    """
    known = sensible(await _raw(tx, prefix))
    last = newest(known)
    if on < last.contract_start_date:
        raise Refused(f"on: {on} is before the contract begins, {last.contract_start_date}")
    ended = [msgspec.structs.replace(one, contract_end_date=on) for one in known]
    wrong = _whole(known, ended, await _settled(tx, prefix))
    _raise([line.replace("contract_end_date:", "on:", 1) for line in wrong])
    await _stand(tx, prefix, by, "ended", of=("active", "paused", "draft", "ended"), action="partners.end", end=on)
