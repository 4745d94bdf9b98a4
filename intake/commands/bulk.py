"""An action on one or many: what it means is counted first, a person is asked, then it is done and told."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor, Done
from intake.commands import render
from intake.commands.connect import NO, actor, ask, fail, ring

Wanted = TypeVar("Wanted")


@dataclass(frozen=True, slots=True)
class Answers:
    """How the operator wants it done."""

    dry_run: bool
    yes: bool
    as_json: bool
    who: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Action:
    """The action in words: what it acts on, and the verb in both forms."""

    thing: str
    verb: str
    past: str


def carry_out(
    choose: Callable[[AsyncEngine, datetime], Awaitable[tuple[Wanted, int]]],
    act: Callable[[AsyncEngine, Wanted, Actor, datetime], Awaitable[tuple[Done, set[str]]]],
    action: Action,
    answers: Answers,
) -> None:
    """Choose, count, ask (a person at a terminal only), act, ring, and tell. Ends with 1 when nothing could be done."""
    wanted, matched = ask(choose)
    page = render.console()
    if answers.dry_run or not matched:
        if answers.as_json:
            render.print_json({"matched": matched, action.past: 0, "ids": [], "dry_run": answers.dry_run})
        else:
            page.print(Text(f"{_many(matched, action.thing)} would be {action.past}; nothing was changed"))
        return
    if not answers.as_json:
        page.print(Text(f"{_many(matched, action.thing)} to {action.verb}"))
    if matched > 1 and not render.confirmed(f"{action.verb} {_many(matched, action.thing)}?", yes=answers.yes):
        fail("nothing was changed", NO)

    async def acted(engine: AsyncEngine, now: datetime) -> Done:
        done, queues = await act(engine, wanted, actor(answers.who, answers.why), now)
        if done.ids:
            await ring(*queues)
        return done

    done = ask(acted)
    if answers.as_json:
        told = {"matched": done.matched, action.past: len(done.ids), "ids": list(done.ids), "dry_run": False}
        render.print_json(told)
    else:
        page.print(Text(_told(done, action)))
    if not done.ids:
        fail(f"no {action.thing} was {action.past}: their state changed meanwhile", NO)


def _told(done: Done, action: Action) -> str:
    left = done.matched - len(done.ids)
    busy = f"; {_many(left, action.thing)} left alone: a worker had them" if left > 0 else ""
    return f"{_many(len(done.ids), action.thing)} {action.past}{busy}"


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")
