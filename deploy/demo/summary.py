"""The end of the demo in numbers, with the one that counts as its last line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from deploy.demo import chaos, fates
from deploy.demo.company import money
from deploy.demo.compare_dunning import Figures
from deploy.demo.compare_rows import Difference
from deploy.demo.fates import Fate
from deploy.demo.ledger import Ledger
from deploy.demo.screen import Screen, two_columns
from deploy.demo.story import Story
from deploy.demo.stripe_client import Json

SHOWN = 20
"""Differences that are printed; all of them count."""


@dataclass(slots=True)
class Outcome:
    """What the summary is made of."""

    seed: int
    seconds: float
    counts: Mapping[str, int]
    mrr: Mapping[str, int]
    received: int
    dead: int
    deliveries: Json
    mails: int
    refused: int
    repeated: int
    differences: Sequence[Difference]
    deeds: Sequence[str] = field(default_factory=list[str])
    dunning: tuple[Figures, Figures] | None = None
    """What became of invoices that were not paid in time: by Stripe's books, and here."""

    mailbox: Path = Path()
    fates: Sequence[Fate] = field(default_factory=list[Fate])

    @property
    def wrong(self) -> int:
        """What the last line counts: what differs (parked work, too), and what Stripe refused of the story."""
        return len(self.differences) + self.refused

    @property
    def exit_code(self) -> int:
        """0 only when nothing is wrong."""
        return 1 if self.wrong else 0


def outcome(
    ledger: Ledger,
    story: Story,
    *,
    seed: int,
    seconds: float,
    mailbox: Path,
    deeds: chaos.Chaos | None,
    differences: Sequence[Difference],
    dunning: tuple[Figures, Figures] | None = None,
) -> Outcome:
    """Gather it."""
    progress = ledger.progress()
    stripe = story.shop.stripe
    return Outcome(
        seed=seed,
        seconds=seconds,
        counts=ledger.counts(),
        mrr=ledger.mrr(),
        received=progress.received,
        dead=ledger.backlog()[1],
        deliveries=stripe.get("/_sim/deliveries"),
        mails=sum(1 for file in mailbox.rglob("*") if file.is_file()),
        refused=story.refused,
        repeated=stripe.repeated,
        differences=differences,
        deeds=chaos.told(deeds.done) if deeds is not None else (),
        dunning=dunning,
        mailbox=mailbox,
        fates=ledger.fates(),
    )


def show(screen: Screen, told: Outcome) -> None:
    """Print it; the last line is `differences: N`."""
    counts = told.deliveries["counts"]
    accepted, faults = counts.get("accepted", 0), told.deliveries["faults"]
    table = two_columns("Summary")
    _business(table, told)
    table.add_row("mails", f"{told.mails:,}")
    table.add_row("events at Stripe", f"{counts.get('events', 0):,}")
    table.add_row("deliveries accepted", f"{accepted:,}")
    table.add_row("of these duplicates", f"{accepted - told.received:,}")
    for name, count in faults.items():
        table.add_row(f"fault: {name.replace('_', ' ')}", f"{count:,}")
    if told.repeated:
        table.add_row("requests to Stripe repeated", f"{told.repeated:,}")
    for deed in told.deeds:
        name, _, times = deed.partition(": ")
        table.add_row(f"chaos: {name}", times)
    if told.dead:
        table.add_row("parked as dead", f"{told.dead:,}")
    if told.refused:
        table.add_row("parts of the story that Stripe refused", f"{told.refused:,}")
    table.add_row("seconds", f"{told.seconds:,.1f}")
    table.add_row("seed", str(told.seed))
    screen.show(table)
    screen.say(f"mailbox: {told.mailbox} (look at it by `billing demo --look`)")
    for line in fates.lines(told.fates, told.mailbox):
        screen.say(line)
    for difference in told.differences[:SHOWN]:
        screen.say(str(difference), "red")
    if len(told.differences) > SHOWN:
        screen.say(f"and {len(told.differences) - SHOWN} more", "red")
    screen.say(f"differences: {told.wrong}")


def _business(table: Table, told: Outcome) -> None:
    for name, count in told.counts.items():
        table.add_row(name, f"{count:,}")
    for currency, cents in told.mrr.items():
        table.add_row(f"MRR in {currency.upper()}", money(cents, currency))
    if told.dunning is not None:
        _dunning(table, *told.dunning)


def _dunning(table: Table, there: Figures, here: Figures) -> None:
    """The same figures twice: as Stripe's books have them, and as the ledger does."""
    for name in ("failed", "dunned", "recovered", "lost", "open"):
        table.add_row(f"dunning: {name}, at Stripe and here", f"{getattr(there, name):,} / {getattr(here, name):,}")
    for currency in sorted(there.money.keys() | here.money.keys()):
        both = (money(side.money.get(currency, 0), currency) for side in (there, here))
        table.add_row(f"dunning: recovered in {currency.upper()}", " / ".join(both))
