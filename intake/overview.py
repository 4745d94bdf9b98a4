"""How the whole work stands, as `billing status`, the admin API and the dashboard tell it, and what to do about it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import reconciliation as comparisons
from db.operators import reconciliation, status
from db.verify import runs as verifications
from worker import schedule
from worker.registry import ScheduleSpec
from worker.telemetry import SECRET, redact

LATE_SECONDS = 60.0
"""Work that could run and waits for longer than this is worth a hint."""

SILENT_SECONDS = 60.0
"""A worker's heart beats every few seconds: after so long without a beat it is not well."""

DEEPEST = 100
"""Levels of a payload that are shown as JSON; Stripe's have about ten."""

_SECRET_NAME = re.compile(r"(client_|^|_)secret$|^password$|^api_key$|^ephemeral_key$")
_SECRET_PAIR = re.compile(r'("(?:[a-z_]*_secret|secret|password|api_key|ephemeral_key)"\s*:\s*)"(?:[^"\\]|\\.)*"')
_SURROGATE = re.compile("[\ud800-\udfff]")


def jsonable(value: Any) -> Any:
    """Rows as JSON: times in UTC as ISO 8601 with a Z, everything else as it is."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Mapping():
            return {str(key): jsonable(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        case list() | tuple():
            return [jsonable(item) for item in cast("Iterable[Any]", value)]
        case _:
            return value


def without_secrets(value: Any, name: str = "") -> Any:
    """A payload that may be shown: client secrets, keys and card numbers are taken out, by name and by look.

    Lone surrogates, which neither a page nor JSON in UTF-8 can hold, become U+FFFD.
    """
    match value:
        case str():
            return SECRET if value and _SECRET_NAME.search(name) else _SURROGATE.sub("\ufffd", redact(value))
        case dict():
            fields = cast("dict[str, Any]", value)
            return {redact(key): without_secrets(item, key) for key, item in fields.items()}
        case list():
            return [without_secrets(item, name) for item in cast("list[Any]", value)]
        case _:
            return value


def readable(payload: bytes) -> Any:
    """A stored payload as JSON without secrets; what is no JSON, or nested beyond all readers, is shown as text."""
    try:
        shown = without_secrets(json.loads(payload))
        return json.dumps(shown, ensure_ascii=False) if _is_deep(shown) else shown
    except (ValueError, RecursionError):
        return redact(_SECRET_PAIR.sub(rf'\1"{SECRET}"', payload.decode(errors="replace")))


def _is_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += cast("dict[str, Any]", one).values()
            elif isinstance(one, list):
                below += cast("list[Any]", one)
        if not below:
            return False
        level = below
    return True


def story_json(story: Mapping[str, Any]) -> dict[str, Any]:
    """An event's or a job's story as JSON that may be shown."""
    shown = dict(story)
    if isinstance(payload := shown.get("payload"), bytes):
        shown["payload"] = readable(payload)
    for field in ("args", "history", "last_error", "staged", "changed", "effects", "audit"):
        if field in shown:
            shown[field] = without_secrets(shown[field])
    return jsonable(shown)


async def overview(engine: AsyncEngine, schedules: Iterable[ScheduleSpec], now: datetime) -> dict[str, Any]:
    """The state of queues, events, workers, schedules and pauses at one moment, as the contract's JSON."""
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        found = await status.queues(conn, now)
        finished, estimated = await status.finished_events(conn)
        workers = await status.workers(conn, now)
        pauses = await status.pauses(conn)
        planned = await _schedules(conn, schedules, now)
        broken = [name for name, rows in (await verifications.broken(conn)).items() if rows]
        differences = sum((await comparisons.open_counts(conn)).values())
        uncompared = await reconciliation.failed(conn)
    events = {
        "received": sum(queue["events_received"] for queue in found.values()),
        **finished,
        "retrying": sum(queue["events_retrying"] for queue in found.values()),
        "dead": sum(queue["events_dead"] for queue in found.values()),
        "estimated": estimated,
    }
    queues = {
        name: {field: value for field, value in queue.items() if not field.startswith("events_")}
        | {"paused": any(one["scope"] == "queue" and one["target"] == name for one in pauses)}
        for name, queue in found.items()
    }
    told = {"now": now, "queues": queues, "events": events, "workers": workers, "schedules": planned, "pauses": pauses}
    return jsonable(told) | {"hints": [*hints(told), *_broken(broken), *_compared(differences, uncompared)]}


async def _schedules(conn: AsyncConnection, specs: Iterable[ScheduleSpec], now: datetime) -> list[dict[str, Any]]:
    runs = await status.schedule_runs(conn)
    told: list[dict[str, Any]] = []
    for spec in sorted(specs, key=lambda one: one.name):
        run = runs.get(spec.name, {})
        told.append(
            {
                "name": spec.name,
                "cron": spec.cron,
                "timezone": spec.timezone,
                "last_run": run.get("created_at"),
                "last_period": run.get("period"),
                "last_status": run.get("status"),
                "last_job": run.get("job_id"),
                "next_run": schedule.next_run(spec, now),
            }
        )
    return told


def age(seconds: float) -> str:
    """A duration as people say it: `8 s`, `4 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.1f} s" if 0 < seconds < 1 else f"{int(seconds)} s"


def hints(told: Mapping[str, Any]) -> list[str]:
    """What is wrong, and the command that shows or mends it; empty when all is well."""
    found: list[str] = []
    queues: dict[str, dict[str, Any]] = told["queues"]
    alive = [one for one in told["workers"] if one["heartbeat_age_seconds"] <= SILENT_SECONDS]
    if dead := told["events"]["dead"]:
        found.append(f"{_many(dead, 'dead event')}: billing events list --status dead")
    for name, queue in queues.items():
        jobs = queue["dead"] - (dead if name == "events" else 0)
        if jobs > 0:
            found.append(f"{_many(jobs, 'dead job')} in {name}: billing jobs list --status dead --queue {name}")
    waiting = sum(queue["ready"] + queue["retrying"] for queue in queues.values())
    if not alive and (waiting or told["workers"]):
        found.append("no worker is alive: start one with `billing worker` (or `billing up`)")
    for worker in told["workers"]:
        if worker not in alive:
            beat = age(worker["heartbeat_age_seconds"])
            found.append(f"worker {worker['id']} has been silent for {beat}: it died, or its machine is gone")
    for name, queue in queues.items():
        if queue["oldest_ready_seconds"] > LATE_SECONDS and not queue["paused"]:
            found.append(f"{name}: the oldest work has waited for {age(queue['oldest_ready_seconds'])}: add a worker?")
    for one in told["pauses"]:
        group = "queues" if one["scope"] == "queue" else "events" if "." in one["target"] else "jobs"
        why = f" ({one['why']})" if one["why"] else ""
        flag = {"queues": "", "events": "--type ", "jobs": "--name "}[group]
        found.append(f"{one['target']} is paused by {one['who']}{why}: billing {group} resume {flag}{one['target']}")
    return found


def _broken(invariants: Sequence[str]) -> list[str]:
    """What the last check of the books' own invariants found; `billing verify` shows the rows."""
    if not invariants:
        return []
    return [f"{_many(len(invariants), 'invariant')} of the books broken ({', '.join(invariants)}): billing verify"]


def _compared(differences: int, uncompared: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the comparisons with Stripe found, and where none came to its end."""
    found: list[str] = []
    for one in uncompared:
        whose = f" of {one['stripe_account']}" if one["stripe_account"] else ""
        why = redact(one["error"] or "it ended with an error")
        found.append(f"the books{whose} were not compared with Stripe ({why}): billing reconcile list")
    if differences:
        found.append(f"{_many(differences, 'difference')} to Stripe: billing reconcile differences")
    return found


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
