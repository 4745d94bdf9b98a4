"""Operators say how which customers are dunned; a new case gets the first policy that fits, as it was that day."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, time
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_serializer, model_validator
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.models.dunning import DunningPolicy
from db.operators.actions import Actor, write_audit
from jobs.rules.dunning import DEFAULT, Action, Hours, Policy, Step, mistakes, out_of_order

log = structlog.get_logger()


def _written(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("write it without line breaks or signs that cannot be seen, and without spaces at its ends")
    return value


def _of_the_clock(value: time) -> time:
    if value.tzinfo is not None or value.second or value.microsecond:
        raise ValueError("is hours and minutes by the customer's own clock, such as 08:30: no seconds, no time zone")
    return value


Words = Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_written)]
OfTheClock = Annotated[time, AfterValidator(_of_the_clock)]
CurrencyCode = Annotated[str, Field(pattern="^[a-z]{3}$")]


class BadPolicyError(ValueError):
    """A policy cannot be used; the message has one line for each mistake, each naming its place."""


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepForm(_Form):
    """A step: days after the failure, by the customer's calendar; its letter; and, for the last one, an action."""

    day: Annotated[int, Field(ge=0, le=365)]
    letter: Literal["payment_failed", "dunning_reminder", "final_notice", "access_suspended"]
    action: Action = Action.NONE

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.letter == "access_suspended") != (self.action is not Action.NONE):
            raise ValueError("access_suspended is the letter of an action, and of nothing else: give both, or neither")
        return self

    def rule(self) -> Step:
        """The rule that it means."""
        return Step(self.day, self.letter, self.action)


class HoursForm(_Form):
    """When letters may go, by the customer's clock; the first letter of a case goes at once."""

    opens: OfTheClock = time(8)
    closes: OfTheClock = time(20)
    weekends: bool = False

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        self.rule()
        return self

    def rule(self) -> Hours:
        """The rule that it means. Raises ValueError when that is never."""
        return Hours(self.opens, self.closes, self.weekends)

    @field_serializer("opens", "closes")
    def _plain(self, value: time) -> str:
        return value.strftime("%H:%M")


class AppliesTo(_Form):
    """Whom a policy is for: all that is given must fit; nothing given fits everybody. Amounts are minor units."""

    tiers: list[Words] | None = None
    currencies: list[CurrencyCode] | None = None
    min_amount_cents: Annotated[int | None, Field(ge=0)] = None
    max_amount_cents: Annotated[int | None, Field(ge=0)] = None
    collection_method: Literal["charge_automatically", "send_invoice"] | None = None

    @model_validator(mode="after")
    def _sane(self) -> Self:
        limited = self.min_amount_cents is not None or self.max_amount_cents is not None
        if limited and len(self.currencies or ()) != 1:
            raise ValueError("an amount is one of a currency: name exactly one in currencies")
        least, most = self.min_amount_cents, self.max_amount_cents
        if least is not None and most is not None and least > most:
            raise ValueError("min_amount_cents is greater than max_amount_cents: that fits nobody")
        return self

    def fits(self, *, tier: str | None, currency: str, amount: int, collection_method: str | None) -> bool:
        """Whether an invoice of this kind is meant."""
        return (
            (self.tiers is None or tier in self.tiers)
            and (self.currencies is None or currency in self.currencies)
            and (self.min_amount_cents is None or amount >= self.min_amount_cents)
            and (self.max_amount_cents is None or amount <= self.max_amount_cents)
            and self.collection_method in {None, collection_method}
        )


def _not_default(value: str) -> str:
    if value == DEFAULT.name:
        raise ValueError(f"{DEFAULT.name} is what is done where no policy fits: choose another name")
    return value


def _in_order(steps: list[StepForm]) -> list[StepForm]:
    if found := list(mistakes([step.rule() for step in steps])):
        raise ValueError("\n".join(found))
    return steps


class PolicyForm(_Form):
    """A policy as it is written down and shown. Its fields hold its rules, so that all mistakes are told at once."""

    name: Annotated[Words, AfterValidator(_not_default)]
    position: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """Policies are tried in this order; the first that fits is taken."""
    applies_to: AppliesTo = AppliesTo()
    steps: Annotated[list[StepForm], Field(max_length=20), AfterValidator(_in_order)]
    hours: HoursForm = HoursForm()

    def rule(self) -> Policy:
        """The rule that it means."""
        return Policy(self.name, tuple(step.rule() for step in self.steps), self.hours.rule())


def read_policy(data: Any) -> PolicyForm:
    """A policy from JSON-like data. Raises BadPolicyError with a line for each mistake."""
    try:
        return PolicyForm.model_validate(data)
    except ValidationError as error:
        raise BadPolicyError("\n".join(_lines(error, data))) from None


def _lines(error: ValidationError, data: Any) -> Iterator[str]:
    """A line for each mistake. Where a step is wrong in itself, the order of the others is looked at all the same."""
    found = error.errors(include_input=False, include_url=False)
    for item in found:
        where = ".".join(map(str, item["loc"])) or "policy"
        for line in item["msg"].removeprefix("Value error, ").splitlines():
            yield f"{where}: {line}"
    if any(item["loc"][0] == "steps" and len(item["loc"]) > 1 for item in found if item["loc"]):
        for earlier, later in pairwise(map(_step, data["steps"])):
            if earlier is not None and later is not None:
                yield from (f"steps: {line}" for line in out_of_order(earlier, later))


def _step(data: Any) -> Step | None:
    try:
        return StepForm.model_validate(data).rule()
    except ValidationError:
        return None


async def policies(conn: AsyncConnection) -> list[PolicyForm]:
    """All policies, in the order in which they are tried.

    One that cannot be read is left out and told of in the log: a bad row stops neither the ledger nor other policies.
    """
    columns = (
        DunningPolicy.name, DunningPolicy.position, DunningPolicy.applies_to, DunningPolicy.steps, DunningPolicy.hours
    )  # fmt: skip
    rows = await conn.execute(select(*columns).order_by(DunningPolicy.position, DunningPolicy.name))
    found: list[PolicyForm] = []
    broken: list[tuple[str, str]] = []
    for row in rows.mappings():
        try:
            found.append(read_policy(dict(row)))
        except BadPolicyError as error:
            broken.append((row["name"], str(error)))
    for name, wrong in broken:
        log.error("a dunning policy cannot be read and is not used", policy=name, mistakes=wrong)
    return found


async def put(conn: AsyncConnection, policy: PolicyForm, actor: Actor, *, now: datetime) -> None:
    """Write a policy, in the place of one of the same name. Cases that are open keep the steps that they have."""
    values = policy.model_dump(mode="json") | {"updated_at": now, "updated_by": actor.who}
    statement = insert(DunningPolicy).values(values)
    changed = {name: statement.excluded[name] for name in values if name != "name"}
    await conn.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed))
    details = policy.model_dump(mode="json", exclude={"name"})
    await write_audit(conn, actor, "dunning.policy.put", policy.name, now=now, details=details)


async def remove(conn: AsyncConnection, name: str, actor: Actor, *, now: datetime) -> bool:
    """Take a policy away; open cases keep their steps. False: there is none of this name."""
    gone = await conn.execute(delete(DunningPolicy).where(DunningPolicy.name == name).returning(DunningPolicy.name))
    if gone.first() is None:
        return False
    await write_audit(conn, actor, "dunning.policy.remove", name, now=now)
    return True


def choose(
    found: Sequence[PolicyForm], *, tier: str | None, currency: str, amount: int, collection_method: str | None
) -> Policy:
    """The first policy that fits an invoice with `amount` (minor units) open; DEFAULT when none does."""
    for policy in found:
        if policy.applies_to.fits(tier=tier, currency=currency, amount=amount, collection_method=collection_method):
            return policy.rule()
    return DEFAULT


def steps_json(policy: Policy) -> list[dict[str, Any]]:
    """The steps as a case keeps them."""
    return [{"day": step.day, "letter": step.letter, "action": step.action.value} for step in policy.steps]


def hours_json(policy: Policy) -> dict[str, Any]:
    """The hours as a case keeps them."""
    hours = policy.hours
    return {"opens": f"{hours.opens:%H:%M}", "closes": f"{hours.closes:%H:%M}", "weekends": hours.weekends}


def steps_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """A case's steps."""
    return tuple(Step(row["day"], row["letter"], Action(row["action"])) for row in rows)


def hours_of(row: Mapping[str, Any]) -> Hours:
    """A case's hours."""
    return Hours(time.fromisoformat(row["opens"]), time.fromisoformat(row["closes"]), row["weekends"])
