"""How contracts are read at a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from intake.commands import render
from intake.dunning import money
from jobs.partners.contract_words import money as in_words

STATES = {"active": "green", "paused": "yellow", "draft": "dim", "ended": "dim", "issued": "green", "parked": "yellow",
          "pending": "cyan", "empty": "dim", "void": "dim"}  # fmt: skip


def _state(word: str) -> Text:
    return render.text(word, STATES.get(word.split(maxsplit=1)[0], "") if word else "")


def _count(value: str | None) -> str:
    """`1,204.5`."""
    whole, _, rest = (value or "0").partition(".")
    return f"{int(whole):,}" + (f".{rest}" if rest else "")


def listing(page: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Contracts in a table, and below it what is wrong with them."""
    if not rows:
        page.print(Text("no partner has a contract; begin with `billing partners add --help`"))
        return
    made = render.table(
        *("prefix", "company", "model", "price", "state", "used this month", "next invoice"), right=("used this month",)
    )
    for row in rows:
        made.add_row(
            render.text(row["api_key_prefix"]),
            render.text(row["company"]),
            render.text(row["pricing_model"]),
            render.text(row["price"]),
            _state(row["standing"]),
            render.text(_count(row["used_units"])),
            render.text(row["next_invoice_on"]),
        )
    page.print(made)
    for row in rows:
        for line in row["wrong"]:
            page.print(Text.assemble((render.safe(row["api_key_prefix"]), "bold"), ": ", (render.safe(line), "red")))
        for line in row["unused"]:
            page.print(Text.assemble((render.safe(row["api_key_prefix"]), "bold"), ": ", (render.safe(line), "dim")))
        if row["parked_periods"]:
            said = f"{row['parked_periods']} parked: billing partners parked"
            page.print(Text.assemble((render.safe(row["api_key_prefix"]), "bold"), ": ", (said, "yellow")))


def story_page(page: Console, told: Mapping[str, Any]) -> None:
    """One contract with its versions, usage, periods and keys."""
    page.print(Text.assemble((render.safe(told["api_key_prefix"]), "bold"), "  ", render.safe(told["company"])))
    page.print(
        render.pairs(
            {
                "price": told["price"],
                "terms": told["billing"],
                "state": _state(told["standing"]),
                "time zone": told["timezone"],
                "begins": told["contract_start_date"],
                "ends": told["contract_end_date"],
                "next invoice": told["next_invoice_on"] and f"{told['next_invoice_on']} for {told['next_period']}",
            }
        )
    )
    render.section(page, "What is wrong", [render.text(line, "red") for line in told["wrong"]])
    render.section(page, "What is not charged", [render.text(line, "yellow") for line in told["unused"]])
    render.section(page, "Versions", [_version(one) for one in told["terms"]])
    render.section(page, f"Used in {told['used_month']}", [_used(one) for one in told["used"]])
    render.section(page, "Periods", [_period(one) for one in told["periods"]])
    render.section(page, "Keys", [_key(one) for one in told["keys"]])
    render.section(page, "Operators", render.audited(told["audit"]))


def _version(one: Mapping[str, Any]) -> Text:
    line = Text(f"{one['version']}. from {one['valid_from']}  ").append(render.safe(one["price"] or "cannot be read"))
    line.append(f"; {render.safe(one['billing'])}" if one["billing"] else "", style="dim")
    return line.append("  holds today", style="green") if one["current"] else line


def _used(one: Mapping[str, Any]) -> Text:
    kind = render.safe(one["event_type"])
    return Text(f"{_count(one['units']):>14}  {kind}").append("" if one["billable"] else "  not billable", style="dim")


def _period(one: Mapping[str, Any]) -> Text:
    line = Text(f"{one['period']}  ").append_text(_state(one["status"]))
    if one["total_cents"] is not None:
        line.append(f"  {money(one['total_cents'], one['currency'] or '')}")
    if one["invoice_number"]:
        line.append(f"  {one['invoice_number']} ({one['invoice_status']})", style="dim")
    for reason in one["reasons"] or ():
        line.append(f"  {render.safe(reason['why'] if isinstance(reason, dict) else reason)}", style="yellow")
    return line


def _key(one: Mapping[str, Any]) -> Text:
    line = Text(f"{one['id']}  {render.safe(one['shown'])}  ").append(", ".join(one["scopes"]), style="dim")
    if one["name"]:
        line.append(f"  {render.safe(one['name'])}")
    if one["revoked_at"]:
        line.append("  revoked", style="red")
    elif one["last_used_at"]:
        line.append(f"  last used {one['last_used_at'][:19].replace('T', ' ')}", style="dim")
    return line


def changes(page: Console, changed: Mapping[str, Sequence[Any]], currency: str) -> None:
    """What becomes other, field by field; amounts in the currency of before and of now."""
    made = render.table("field", "was", "is")
    before, after = changed.get("currency", (currency, currency))
    for name, (was, now) in changed.items():
        made.add_row(
            render.text(name), render.text(_amount(name, was, before), "dim"), render.text(_amount(name, now, after))
        )
    page.print(made)


def _amount(name: str, value: Any, currency: str) -> Any:
    """Minor units with what they are: `4900 (€49.00)`."""
    if not name.endswith("_cents") or not isinstance(value, int):
        return value
    return f"{value} ({in_words(value, currency)})"
