"""Four companies use the API under contract: they report what they used day by day, and are invoiced by the month."""

import random
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self

import httpx

from deploy.demo.stripe_client import Json, StoppedError, UnreachableError

DAY = timedelta(days=1)

PATIENCE = 120.0
"""Seconds for which a request is made again: chaos may just have killed the door."""

WAIT = 0.25
"""Seconds between two tries."""

TIMEOUT = 20.0
TOO_MANY = 429
LOOKED_FOR_ON = 2
"""The day of the month on which the month before is over in every time zone, and its last usage was reported."""

NOON, LATEST = 12, 12 * 3600
"""The first deed of a day is at noon (UTC), so that no zone's day is without any; others up to 12 hours around it."""

REQUEST, DEED = "api.request", "deed.created"


@dataclass(frozen=True, slots=True)
class ApiPartner:
    """A contract as it is agreed on the first day of the story, and how much is used on a day."""

    prefix: str
    terms: Mapping[str, Any]
    """The contract's fields, in minor units."""

    requests: int = 0
    """A day, on average, in three reports: one in each third of the day, so that no zone's day is without any."""

    deeds: int = 0
    """A day, at most, and at least one; each is reported by itself."""

    pays_after: int = 10
    """Days from the invoice to its payment by bank."""


API_PARTNERS = (
    ApiPartner(
        "havn_live",
        {
            "company": "Havn Logistikk AS",
            "pricing_model": "per_request",
            "currency": "eur",
            "timezone": "Europe/Oslo",
            "per_1000_requests_cents": 240,
            "included_units": 50_000,
            "payment_terms": "net_15",
            "billing_email": "faktura@havn.test",
            "address": {"line1": "Skippergata 4", "postal_code": "0152", "city": "Oslo", "country": "NO"},
        },
        requests=9_000,
        pays_after=9,
    ),
    ApiPartner(
        "tanuki_live",
        {
            "company": "株式会社タヌキ地図",
            "pricing_model": "tiered",
            "currency": "jpy",
            "timezone": "Asia/Tokyo",
            "tiers": [
                {"up_to": 100_000, "unit_price_cents": "0.30"},
                {"up_to": 300_000, "unit_price_cents": "0.22"},
                {"up_to": None, "unit_price_cents": "0.15"},
            ],
            "minimum_commitment_cents": 60_000,
            "locale": "ja",
            "tax_name": "消費税",
            "tax_percent": "10",
            "billing_email": "keiri@tanuki.test",
            "address": {"line1": "丸の内1-1", "postal_code": "100-0005", "city": "東京都千代田区", "country": "JP"},
        },
        requests=11_000,
        pays_after=22,
    ),
    ApiPartner(
        "prairie_live",
        {
            "company": "Prairie Title Co.",
            "pricing_model": "hybrid",
            "currency": "usd",
            "timezone": "America/Chicago",
            "monthly_flat_fee_cents": 24_900,
            "per_deed_price_cents": 175,
            "per_1000_requests_cents": 250,
            "included_units": 20_000,
            "billing_email": "ap@prairietitle.test",
            "address": {
                "line1": "18 Elm St",
                "postal_code": "67202",
                "city": "Wichita",
                "state": "KS",
                "country": "US",
            },
        },
        requests=4_000,
        deeds=6,
        pays_after=14,
    ),
    ApiPartner(
        "albion_live",
        {
            "company": "Albion Conveyancing Ltd",
            "pricing_model": "per_deed",
            "currency": "gbp",
            "timezone": "Europe/London",
            "per_deed_price_cents": 220,
            "discount_percent": "10",
            "tax_percent": "20",
            "billing_email": "ledger@albion.test",
            "address": {"line1": "2 Chancery Lane", "postal_code": "WC2A 1LF", "city": "London", "country": "GB"},
        },
        deeds=12,
        pays_after=18,
    ),
)


def used(partner: ApiPartner, seed: int, day: date) -> list[Json]:
    """What a partner used on a day (UTC), as it is reported."""
    chance = random.Random(f"{seed}/{partner.prefix}/{day}")
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    share = partner.requests // 3
    rows: list[Json] = [
        {"event_type": REQUEST, "cost_units": chance.randint(share // 2, share * 3 // 2), "occurred_at": at}
        for at in (midnight + timedelta(hours=8 * third, seconds=chance.randrange(8 * 3600)) for third in range(3))
        if share
    ]
    rows += [
        {
            "event_type": DEED,
            "resource_id": f"deed_{chance.randrange(10**6):06}",
            "occurred_at": midnight + timedelta(hours=NOON, seconds=chance.randrange(-LATEST, LATEST) if number else 0),
        }
        for number in range(chance.randint(min(1, partner.deeds), partner.deeds))
    ]
    return [
        row | {"idempotency_key": f"{day}/{number}", "occurred_at": row["occurred_at"].isoformat()}
        for number, row in enumerate(rows)
    ]


class Desk(Protocol):
    """The company's own software, where partners are looked after."""

    def make_key(self, prefix: str) -> str:
        """A new key of a partner."""
        ...

    def unpaid(self) -> Iterable[tuple[str, str, datetime]]:
        """The partners' invoices that are open: the partner's prefix, the number, and when it was issued."""
        ...


@dataclass(slots=True)
class ApiPartners:
    """The partners' own software, which reports day by day, and the operator who agrees with them; one thread."""

    public: str
    admin: str
    token: str
    seed: int
    stopping: threading.Event
    desk: Desk
    start: int = 0
    """When they came under contract (seconds since 1970)."""

    _keys: dict[str, str] = field(default_factory=dict[str, str])
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=TIMEOUT))

    def agree(self, start: int) -> None:
        """Write the contracts, valid from the day of `start` (seconds since 1970), and have keys made."""
        self.start, first = start, datetime.fromtimestamp(start, UTC).date()
        for partner in API_PARTNERS:
            fields = {"api_key_prefix": partner.prefix, "contract_start_date": first.isoformat(), **partner.terms}
            self.operator("/admin/partners", fields)
            self._keys[partner.prefix] = self.desk.make_key(partner.prefix)

    def pass_days(self, before: int, now: int) -> None:
        """Report the days (UTC) that ended between the two instants (seconds since 1970), and have months invoiced."""
        for day in days(before, now):
            for partner in API_PARTNERS:
                self._report(partner, day)
            if (day + DAY).day == LOOKED_FOR_ON:
                period = f"{day + DAY}T00:00Z"
                self.operator("/admin/schedules/partner-invoices/run", {"period": period})
            self._pay(datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY)

    def _report(self, partner: ApiPartner, day: date) -> None:
        rows = used(partner, self.seed, day)
        if rows:
            self._post(f"{self.public}/usage/events", rows, self._keys[partner.prefix])

    def _pay(self, now: datetime) -> None:
        """Transfers come in; finance records them."""
        after = {partner.prefix: timedelta(days=partner.pays_after) for partner in API_PARTNERS}
        for prefix, number, issued_at in self.desk.unpaid():
            if issued_at + after[prefix] <= now:
                sent = {"reference": f"transfer for {number}", "why": "on the bank's statement"}
                self.operator(f"/admin/invoices/{number}/payments", sent)

    def operator(self, path: str, body: Any) -> Json:
        """What an operator posts to the internal door. Raises UnreachableError, StoppedError, and RuntimeError."""
        return self._post(f"{self.admin}{path}", body, self.token)

    def _post(self, url: str, body: Any, token: str) -> Json:
        """Ask until there is an answer. Raises UnreachableError, StoppedError, and RuntimeError for a refusal."""
        end, last = time.monotonic() + PATIENCE, ""
        while time.monotonic() < end:
            try:
                answer = self._client.post(url, json=body, headers={"Authorization": f"Bearer {token}"})
            except httpx.TransportError as error:
                last = repr(error)
            else:
                if answer.is_success:
                    return answer.json()
                last = f"{answer.status_code} {answer.text}"
                if answer.is_client_error and answer.status_code != TOO_MANY:
                    raise RuntimeError(f"{url}: {last}")
            if self.stopping.wait(WAIT):
                raise StoppedError
        raise UnreachableError(f"{url}: {last}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()


def days(before: int, now: int) -> Iterator[date]:
    """The days (UTC) that ended after the one instant, and not after the other."""
    day = datetime.fromtimestamp(before, UTC).date()
    while datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY <= datetime.fromtimestamp(now, UTC):
        yield day
        day += DAY
