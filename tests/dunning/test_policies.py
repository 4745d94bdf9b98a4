"""Policies are data: checked when they are written, chosen by what fits, and kept by a case as they were."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from db.operators.actions import Actor
from jobs.dunning.policies import BadPolicyError, choose, policies, put, read_policy, remove
from tests.dunning.kit import Scene

GENTLE: dict[str, Any] = {
    "name": "gentle",
    "position": 10,
    "applies_to": {"tiers": ["enterprise"]},
    "steps": [{"day": 2, "letter": "payment_failed"}, {"day": 30, "letter": "final_notice"}],
    "hours": {"opens": "09:30", "weekends": True},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": []}, "has no steps"),
        ({"steps": [{"day": 3, "letter": "payment_failed"}, {"day": 3, "letter": "final_notice"}]}, "days must grow"),
        ({"steps": [{"day": 0, "letter": "payment_faild"}]}, "steps.0.letter: Input should be 'payment_failed'"),
        ({"steps": [{"day": -1, "letter": "payment_failed"}]}, "steps.0.day: Input should be greater than or equal"),
        ({"steps": [{"day": 0, "letter": "access_suspended"}]}, "the letter of an action"),
        ({"steps": [{"day": 0, "letter": "payment_failed", "action": "mark_blocked"}]}, "the letter of an action"),
        (
            {
                "steps": [
                    {"day": 0, "letter": "access_suspended", "action": "mark_blocked"},
                    {"day": 3, "letter": "final_notice"},
                ]
            },
            "only the last step may",
        ),
        ({"hours": {"opens": "20:00", "closes": "08:00"}}, "that is never"),
        ({"steps": [{"day": 3, "letter": "access_suspended", "action": "mark_blocked"}]}, "a letter must come first"),
        ({"hours": {"opens": "08:00:10", "closes": "08:00:50"}}, "hours.opens: is hours and minutes"),
        ({"hours": {"opens": "08:00+02:00"}}, "no seconds, no time zone"),
        ({"hours": {"closes": "18:00Z"}}, "hours.closes: is hours and minutes"),
        ({"position": 10**30}, "position: "),
        ({"position": -1}, "position: "),
        ({"name": "a\x00b"}, "name: write it without"),
        ({"name": "a\nb"}, "name: write it without"),
        ({"name": " gentle"}, "name: write it without"),
        ({"applies_to": {"tiers": ["\x00"]}}, "applies_to.tiers.0: write it without"),
        ({"name": "default"}, "choose another name"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"applies_to": {"min_amount_cents": 100}}, "name exactly one in currencies"),
        (
            {"applies_to": {"currencies": ["usd"], "min_amount_cents": 100, "max_amount_cents": 5}},
            "that fits nobody",
        ),
        ({"applies_to": {"currencies": ["USD"]}}, "applies_to.currencies.0"),
    ],
)
def test_a_policy_that_cannot_be_used_is_refused_and_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadPolicyError, match=said.replace(".", r"\.")):
        read_policy(GENTLE | changes)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadPolicyError) as refused:
        read_policy({"steps": [{"day": "x", "letter": "y"}]})
    assert len(str(refused.value).splitlines()) == 3


def test_mistakes_of_all_kinds_are_told_at_once() -> None:
    steps: list[dict[str, Any]] = [
        {"day": 5, "letter": "payment_failed"},
        {"day": 3, "letter": "dunning_reminder"},
        {"day": 2, "letter": "final_notice"},
    ]
    hours = {"opens": "20:00", "closes": "08:00"}
    wrong = {"name": "default", "position": -1, "steps": steps, "hours": hours, "applies_to": {"min_amount_cents": 1}}
    with pytest.raises(BadPolicyError) as refused:
        read_policy(wrong)
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "name", "position", "applies_to", "steps", "steps", "hours"
    ]  # fmt: skip
    with pytest.raises(BadPolicyError) as refused:
        read_policy({"name": "x", "steps": [*steps[:2], {"day": "x", "letter": "y"}, 7]})
    assert str(refused.value).splitlines()[-1] == "steps: day 3 comes after day 5: days must grow from step to step"


async def test_a_row_that_cannot_be_read_stops_nothing(scene: Scene) -> None:
    ada = Actor("ada")
    async with scene.deps.tx() as tx:
        await put(tx.conn, read_policy(GENTLE | {"name": "broken", "position": 1}), ada, now=tx.now)
        await put(tx.conn, read_policy(GENTLE | {"applies_to": {"currencies": ["usd"]}}), ada, now=tx.now)
    await scene.query_and_commit(
        "UPDATE dunning_policies SET hours = '{\"opens\": \"08\\:00\\:10\"}' WHERE name = 'broken'"
    )
    with capture_logs() as logs:
        await scene.fail()
    assert (await scene.case())["policy"] == "gentle"
    [told] = [one for one in logs if one["log_level"] == "error"]
    assert told["policy"] == "broken"
    assert "hours.opens" in told["mistakes"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ({"tier": "enterprise"}, "gentle"),
        ({"tier": "team"}, "default"),
        ({"currency": "jpy", "amount": 999}, "default"),
        ({"currency": "jpy", "amount": 1000}, "much"),
        ({"currency": "jpy", "amount": 5000}, "much"),
        ({"currency": "jpy", "amount": 5001}, "default"),
        ({"collection_method": "send_invoice"}, "sent"),
        ({"collection_method": "send_invoice", "tier": "enterprise"}, "gentle"),
    ],
)
def test_the_first_that_fits_is_chosen(kind: dict[str, Any], name: str) -> None:
    much = {"currencies": ["jpy"], "min_amount_cents": 1000, "max_amount_cents": 5000}
    known = [
        read_policy(GENTLE),
        read_policy(GENTLE | {"name": "much", "applies_to": much}),
        read_policy(GENTLE | {"name": "sent", "applies_to": {"collection_method": "send_invoice"}}),
    ]
    whose: dict[str, Any] = {"tier": None, "currency": "usd", "amount": 100, "collection_method": None}
    assert choose(known, **(whose | kind)).name == name


async def test_they_are_written_shown_replaced_and_removed(scene: Scene) -> None:
    ada = Actor("ada", "a big customer")
    async with scene.deps.tx() as tx:
        await put(tx.conn, read_policy(GENTLE), ada, now=tx.now)
        await put(tx.conn, read_policy(GENTLE | {"position": 5}), ada, now=tx.now)
        await put(tx.conn, read_policy(GENTLE | {"name": "first", "position": 1}), ada, now=tx.now)
        assert [(one.name, one.position) for one in await policies(tx.conn)] == [("first", 1), ("gentle", 5)]
        assert (await policies(tx.conn))[1] == read_policy(GENTLE | {"position": 5})
        assert await remove(tx.conn, "first", ada, now=tx.now)
        assert not await remove(tx.conn, "first", ada, now=tx.now)
    told = await scene.query("SELECT action, target FROM audit_log ORDER BY id")
    assert told == [("dunning.policy.put", "gentle")] * 2 + [
        ("dunning.policy.put", "first"),
        ("dunning.policy.remove", "first"),
    ]


async def test_a_case_keeps_the_policy_that_it_began_with(scene: Scene) -> None:
    ada = Actor("ada")
    async with scene.deps.tx() as tx:
        await put(tx.conn, read_policy(GENTLE | {"applies_to": {"currencies": ["usd"]}}), ada, now=tx.now)
    await scene.fail()
    async with scene.deps.tx() as tx:
        await remove(tx.conn, "gentle", ada, now=tx.now)
    case = await scene.case()
    assert (case["policy"], [step["day"] for step in case["steps"]]) == ("gentle", [2, 30])
    await scene.days(1.9)
    assert await scene.letters() == []
    await scene.days(30)
    assert await scene.letters() == ["payment_failed", "final_notice"]
    assert (await scene.letter("dunning/in_1/1"))["final_on"] is None
