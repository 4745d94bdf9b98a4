"""Nothing secret is logged, and no stranger can make the metrics grow."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog
from hypothesis import assume, given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from worker import telemetry
from worker.settings import Settings
from worker.telemetry import CARD, configure_logging, count_webhook, redact

CARDS = ["4242424242424242", "378282246310005", "6011111111111117", "4222222222222", "6304000000000000000"]


def with_check_digit(digits: str) -> str:
    return next(digits + last for last in "0123456789" if telemetry._is_card(digits + last))  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the rule under test


cards = st.text("0123456789", min_size=12, max_size=18).map(with_check_digit)


@pytest.mark.parametrize("card", CARDS)
def test_known_test_cards(card: str) -> None:
    """https://docs.stripe.com/testing#cards, and the shortest and longest there are."""
    spaced = " ".join(card[at : at + 4] for at in range(0, len(card), 4))
    for written in (card, spaced, spaced.replace(" ", "-"), spaced.replace(" ", " - "), f"1 {spaced} 12/29 123"):
        assert CARD in redact(f"declined: {written}!")
        assert card[-8:] not in redact(written).replace(" ", "").replace("-", "")


@given(card=cards, before=st.text(max_size=20), after=st.text(max_size=20), data=st.data())
def test_a_card_number_never_comes_through(card: str, before: str, after: str, data: st.DataObject) -> None:
    assume(not before[-1:].isdigit())
    assume(not after[:1].isdigit())
    cuts = data.draw(st.lists(st.integers(1, len(card) - 1), max_size=5).map(sorted))
    separator = data.draw(st.sampled_from([" ", "-", "\u00a0", "\u2011"]))
    written = separator.join(card[a:b] for a, b in zip([0, *cuts], [*cuts, len(card)], strict=True) if b > a)
    redacted = redact(f"{before}{written}{after}")
    assert written not in redacted
    assert redact(redacted) == redacted


@given(text=st.text())
def test_redacting_twice_is_redacting_once(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@given(text=st.text("abc ,.:/@=-_\n", max_size=80))
def test_other_text_stays(text: str) -> None:
    assume("://" not in text)
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("bad secret whsec_abc/DEF+123=", "abc/DEF"),
        ("key sk_live_51Habcdef used", "51Habcdef"),
        ("key rk_test_51Habcdef used", "51Habcdef"),
        ("key sk_org_live_51Habcdef used", "51Habcdef"),
        ("client pi_3Nabc_secret_Xyz123456", "Xyz123456"),
        ("cannot reach postgresql://billing:hun%40ter2@db:5432/billing", "hun"),
        ("cannot reach redis://:hunter2@cache:6379/0", "hunter2"),
        ("smtps://user@example.com:hunter2@mail:465", "hunter2"),
        ("MAIL_URL=sendgrid://SG.abcdef.ghi", "SG.abcdef"),
        ("Authorization: Bearer abc.def-ghi_123", "abc.def"),
    ],
)
def test_secrets(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert "[secret]" in redact(text)
    assert redact(redact(text)) == redact(text)


def test_ids_and_amounts_stay() -> None:
    plain = "evt_1NG8Du2eZvKYlo2CUI79vXWy in_1MtHbELkdIwHu7ixl4OzzPMv 2026-03-01T12:00:00 4900 +49 30 1234567"
    assert redact(plain) == plain


@pytest.fixture
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("_logging_restored")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_neither_logs_nor_tracebacks_hold_secrets(log_format: Literal["json", "console"]) -> None:
    out = io.StringIO()
    configure_logging(Settings(log_format=log_format), out)
    ours, theirs = structlog.get_logger("ours"), logging.getLogger("theirs")
    ours.warning("paid with 4242 4242 4242 4242", url="redis://:hunter2@x", nested={"a": ["sk_live_51Habcdef"]})
    ours.warning("as a number", card=4242424242424242, amount=4900)
    theirs.warning("paid with %s", "4242-4242-4242-4242")
    try:
        int("whsec_hidden")
    except ValueError:
        ours.exception("failed")
        theirs.exception("failed too")
    text = out.getvalue()
    assert text.count("[card number]") == 3
    for hidden in ("4242", "hunter2", "51Habcdef", "hidden"):
        assert hidden not in text
    assert text.count("Traceback (most recent call last)") == 2
    assert "4900" in text


@pytest.mark.usefixtures("_logging_restored")
def test_json_lines_are_json() -> None:
    out = io.StringIO()
    configure_logging(Settings(log_format="json"), out)
    structlog.get_logger("ours").info("one", card=4242424242424242, count=3, none=None, at=1.5)
    logging.getLogger("theirs").info("two")
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["one", "two"]
    assert (lines[0]["card"], lines[0]["count"], lines[0]["at"]) == (CARD, 3, 1.5)
    assert lines[0].keys() >= {"level", "timestamp", "logger"}


def test_no_stranger_makes_the_metrics_grow() -> None:
    count_webhook("invoice.paid", "accepted")
    for number in range(2 * telemetry.MAX_TYPES):
        count_webhook(f"made.up{number}", "accepted")
        count_webhook(f"Bad Type {number}", "accepted")
        count_webhook(None, "missing_signature")
    series = {sample.labels["type"] for metric in telemetry.WEBHOOKS.collect() for sample in metric.samples}
    assert len(series) <= telemetry.MAX_TYPES + 2
    assert series >= {"invoice.paid", "other", "unknown"}
    labels = {"type": "invoice.paid", "outcome": "accepted"}
    before = REGISTRY.get_sample_value("billing_webhooks_total", labels)
    count_webhook("invoice.paid", "accepted")
    assert REGISTRY.get_sample_value("billing_webhooks_total", labels) == (before or 0) + 1


COUNT = "from worker.telemetry import count_webhook, JOBS; count_webhook('invoice.paid', 'accepted')"
READ = """
from prometheus_client.registry import Collector
from worker.telemetry import Exposition
class Nothing(Collector):
    def collect(self):
        return []
print(Exposition(Nothing()).text().decode())
"""


def test_metrics_of_all_processes_are_added_up(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(3):
        subprocess.run([sys.executable, "-c", COUNT], env=environment, check=True)
    out = subprocess.run([sys.executable, "-c", READ], env=environment, check=True, capture_output=True, text=True)
    assert 'billing_webhooks_total{outcome="accepted",type="invoice.paid"} 3.0' in out.stdout


def test_the_names_of_the_contract() -> None:
    """Dashboards and alerts are written against these."""
    names = {
        telemetry.WEBHOOKS: ("billing_webhooks", ("type", "outcome")),
        telemetry.JOBS: ("billing_jobs", ("name", "outcome")),
        telemetry.JOB_SECONDS: ("billing_job_seconds", ("name",)),
        telemetry.EVENT_LAG: ("billing_event_lag_seconds", ()),
    }
    for metric, (name, labels) in names.items():
        private: Any = metric  # there is no public way to ask
        assert (private._name, private._labelnames) == (name, labels)  # noqa: SLF001 - as above


@pytest.mark.parametrize("card", [*CARDS[:4], with_check_digit("123456789012345678")])
@pytest.mark.parametrize("separator", [".", "/", "_", " . ", "\u2009", "\u202f", "|"])
def test_however_a_card_number_is_parted(card: str, separator: str) -> None:
    cuts = [0, 4, 10, 15] if len(card) == 15 else [*range(0, len(card), 4), len(card)]
    written = separator.join(card[a:b] for a, b in pairwise(cuts))
    assert redact(f"declined: {written}!") == f"declined: {CARD}!"
    assert redact(f"1.12.{written} 12/29") == f"1.12.{CARD} 12/29"
    assert redact(f"card_{written}") == f"card_{CARD}"


@given(st.datetimes(), st.integers(0, 10**15))
def test_times_and_amounts_stay(at: datetime, amount: int) -> None:
    seconds = (at - datetime(1970, 1, 1)).total_seconds()  # noqa: DTZ001 - as hypothesis makes them
    written = f"{seconds:.6f} {at:%Y/%m/%d %H:%M:%S.%f} {at:%d.%m.%Y} {amount / 100:,.2f}"
    assert telemetry._PARTED_RUN.search(written) is None  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - the rule under test
    plain = f"in_{at:%Y.%m.%d_%H.%M} 10.0.12.255/24 v1.2.3 {at.year}/4242/1"
    assert redact(plain) == plain


def test_a_label_of_an_event_type_is_bounded() -> None:
    labels = {telemetry.bounded_type(f"another.type{number}") for number in range(2 * telemetry.MAX_TYPES)}
    assert len(labels) <= telemetry.MAX_TYPES + 1
    assert telemetry.bounded_type("Odd Type") == "other"


@pytest.mark.parametrize("piece", ["W", "a-", "a.b+", "_secret_", "a://", "1"])
def test_a_text_without_an_end_is_redacted_in_its_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))  # by a pattern that starts anew at each letter it would take hours
    assert redact(text) == text


def test_the_password_of_a_url_after_a_long_word() -> None:
    assert "hunter2" not in redact(f"{'x' * 100}postgresql://billing:hunter2@db/billing")
