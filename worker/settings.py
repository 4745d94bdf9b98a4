"""What a deployment can set, checked as a whole at start: every mistake is named at once, with its fix."""

import hashlib
import re
from base64 import b64decode
from difflib import get_close_matches
from email.utils import parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.adapters.mail_url import account, server


class ConfigurationError(Exception):
    """The configuration cannot be used; the message has one line for each mistake, each with its fix."""


class StripeMode(StrEnum):
    """Which events the door lets in."""

    LIVE = "live"
    TEST = "test"
    ANY = "any"


def _url(*schemes: str, example: str) -> AfterValidator:
    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
        except ValueError:
            parts = urlsplit("")
        scheme = parts.scheme
        if scheme not in schemes:
            allowed = ", ".join(f"{s}://" for s in schemes)
            raise ValueError(f"begins with none of {allowed}; for example {example}")
        try:
            _ = parts.port if "," not in parts.netloc else None  # Sentinel's addresses are a list
        except ValueError:
            raise ValueError(f"names a port that is no number up to 65535; for example {example}") from None
        return value

    return AfterValidator(check)


DatabaseUrl = Annotated[
    str, _url("postgresql", "postgres", example="postgresql://billing:secret@db.internal:5432/billing")
]
RedisUrl = Annotated[
    str,
    _url(
        "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", example="redis://:secret@cache.internal:6379/0"
    ),
]


HttpUrl = Annotated[str, _url("http", "https", example="http://127.0.0.1:12111")]


def _some_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and not value.get_secret_value().replace(",", " ").split():
        raise ValueError("holds no secret between its commas: whsec_… from Stripe's dashboard, or several, with commas")
    return value


DEMO_MARK = "DEMO"
"""The file that says that a home is a demo's, and may be emptied."""

LANGUAGES = ("en", "de", "fr", "es", "ja")
"""The languages that letters are written in; the first needs no catalog."""

LOGO_BYTES = 256 * 1024
"""A logo travels with every letter, so it may not be larger."""


STRIPE_CAN_MAIL = (
    "action_required",
    "card_expiring",
    "dunning_reminder",
    "final_notice",
    "invoice_overdue",
    "payment_failed",
    "receipt",
    "refund",
    "trial_ending",
)
"""Letters that Stripe can send instead of us: https://docs.stripe.com/billing/revenue-recovery/customer-emails."""


def _mail_url(value: str) -> str:
    scheme, _, rest = value.partition(":")
    match scheme:
        case "smtp" | "smtps":
            server(value)
        case "sendgrid":
            account(value)
        case "maildir" if rest.startswith("///"):
            pass
        case "null" if not rest.strip("/"):
            pass
        case _:
            raise ValueError(
                "is none of smtp://user:password@host:587, smtps://user:password@host:465, sendgrid://KEY, "
                "maildir:///folder, null:"
            )
    return value


_P256 = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
"""How the public key of a P-256 pair begins, as DER (RFC 5480); 65 bytes follow."""


def _public_keys(value: str) -> tuple[bytes, ...]:
    """The keys of `value`, separated by commas, as DER; in SendGrid's own writing (base64) or as PEM."""
    found: list[bytes] = []
    for key in value.split(","):
        try:
            der = b64decode(re.sub(r"-----[A-Z ]+-----|\s", "", key), validate=True)
        except ValueError:
            der = b""
        if len(der) != len(_P256) + 65 or not der.startswith(_P256):
            raise ValueError(
                "is no verification key: copy it from Mail Settings, Event Webhook, Signature Verification"
            )
        found.append(der)
    return tuple(found)


def _sendgrid_key(value: str) -> str:
    _public_keys(value)
    return value


def _sender(value: str) -> str:
    if not re.fullmatch(r"[^@\s<>]+@[^@\s<>]+", parseaddr(_one_line(value))[1]):
        raise ValueError("is no address; for example billing@example.com or Acme Billing <billing@example.com>")
    return value


def _letters(value: str | frozenset[str]) -> frozenset[str]:
    names = frozenset(value.replace(",", " ").split() if isinstance(value, str) else value)
    for name in sorted(names - frozenset(STRIPE_CAN_MAIL)):
        near = get_close_matches(name, STRIPE_CAN_MAIL, n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(STRIPE_CAN_MAIL)}"
        raise ValueError(f"{name} is no letter that Stripe sends: {meant}")
    return names


STORAGES = ("file", "s3", "gs", "az")

DOCUMENTS = ("invoice", "credit_note", "receipt")
"""Documents of Stripe's objects that we can write ourselves."""


def _storage_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in STORAGES:
        raise ValueError("begins with none of file:///folder, s3://bucket/prefix, gs://bucket/prefix, az://container")
    if url.scheme == "file" and (url.netloc or url.path in {"", "/"}):
        raise ValueError("names no folder: file:///var/lib/billing/documents")
    if url.scheme != "file" and not url.netloc:
        raise ValueError(f"names no bucket: {url.scheme}://my-bucket/invoices")
    return value


def _documents(value: str | frozenset[str]) -> frozenset[str]:
    names = frozenset(value.replace(",", " ").split() if isinstance(value, str) else value)
    for name in sorted(names - frozenset(DOCUMENTS)):
        raise ValueError(f"{name} is none of {', '.join(DOCUMENTS)}")
    return names


REPAIRS = ("missing_here", "amount", "currency", "status", "period", "fee", "refund", "duplicate")
"""Classes of differences to Stripe that can be mended from Stripe's data (`db.states.DifferenceClass`)."""

SAFE_REPAIRS = frozenset({"missing_here", "status", "period", "fee", "refund"})
"""What `safe` stands for: all that an event that came too late would have done."""


def _repairs(value: str | frozenset[str]) -> frozenset[str]:
    names = frozenset(value.replace(",", " ").split() if isinstance(value, str) else value)
    for name in sorted(names - {*REPAIRS, "safe"}):
        near = get_close_matches(name, (*REPAIRS, "safe"), n=1)
        meant = f"did you mean {near[0]}?" if near else f"there are safe, {', '.join(REPAIRS)}"
        raise ValueError(f"{name} is no class of differences that can be mended: {meant}")
    return (names - {"safe"}) | SAFE_REPAIRS if "safe" in names else names


LINK_SECRET = 32
"""The least length of the secret that download links are signed with, in characters."""


def _long_secret(value: SecretStr | None) -> SecretStr | None:
    if value is not None and any(len(part.strip()) < LINK_SECRET for part in value.get_secret_value().split(",")):
        raise ValueError(
            f"holds one of fewer than {LINK_SECRET} characters: make each, between commas, by `openssl rand -hex 32`"
        )
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError('is no SHA-256: make it by `printf %s "$ADMIN_TOKEN" | sha256sum`, 64 hexadecimal digits')
    return value.lower()


def _one_line(value: str) -> str:
    if any(ord(char) < ord(" ") for char in value):
        raise ValueError("is one line, without control characters; for example Acme GmbH")
    return value


def _colour(value: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError("is # and six hexadecimal digits; for example #3552d1")
    return value.lower()


def _support(value: str) -> str:
    if not re.fullmatch(r"mailto:[^@\s<>\"]+@[^@\s<>\"]+|https://[^\s<>\"]+", value):
        raise ValueError("is an address or a page; for example mailto:help@example.com or https://example.com/help")
    return value


def _page(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s<>\"]+", value):
        raise ValueError("is a web page; for example https://example.com")
    return value


def _locale(value: str) -> str:
    if not re.fullmatch(rf"({'|'.join(LANGUAGES)})([-_][A-Za-z0-9]+)*", value):
        raise ValueError(f"is one of {', '.join(LANGUAGES)}, with a region or without; for example de or de-AT")
    return value


def _time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError):
        raise ValueError("is no time zone of the IANA database; for example Europe/Berlin") from None
    return value


def _logo(file: Path) -> Path:
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            begins = opened.read(8)
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror}): give the path of a PNG, JPEG or GIF file") from None
    if not begins.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8")):
        raise ValueError("is neither PNG, JPEG nor GIF: mail programs show no others")
    if size > LOGO_BYTES:
        raise ValueError(f"has {size} bytes, and is sent with every letter: make it smaller than {LOGO_BYTES}")
    return file


class Settings(BaseSettings):
    """The environment (and `.env`, and files under `/run/secrets`), frozen. Field names are the variables' names."""

    model_config = SettingsConfigDict(
        env_file=".env",
        extra="ignore",
        frozen=True,
        case_sensitive=False,
        env_ignore_empty=True,
        secrets_dir="/run/secrets" if Path("/run/secrets").is_dir() else None,
    )

    database_url: DatabaseUrl | None = None
    redis_url: RedisUrl | None = None
    billing_home: Path = Path(".billing")
    stripe_webhook_secret: Annotated[SecretStr | None, NoDecode, AfterValidator(_some_secret)] = None
    stripe_mode: StripeMode = StripeMode.ANY
    stripe_secret_key: SecretStr | None = None
    stripe_api_base: HttpUrl | None = None
    billing_stripe_requests_per_second: Annotated[int, Field(ge=1, le=1000)] = 25
    admin_token: SecretStr | None = None
    billing_admin_token_sha256: Annotated[str | None, AfterValidator(lambda one: one and _sha256(one))] = None
    billing_lease_seconds: Annotated[float, Field(ge=1, le=300)] = 15.0
    billing_grace_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    billing_webhook_writers: Annotated[int, Field(ge=1, le=32)] = 2
    billing_usage_late_days: Annotated[int, Field(ge=0, le=3660)] = 35
    billing_clock_file: Path | None = None
    mail_url: Annotated[str | None, Field(repr=False), AfterValidator(lambda url: url and _mail_url(url))] = None
    mail_from: Annotated[str, AfterValidator(_sender)] = "billing@localhost"
    sendgrid_webhook_key: Annotated[str | None, AfterValidator(lambda key: key and _sendgrid_key(key))] = None
    billing_operators_mail: Annotated[str | None, AfterValidator(lambda one: one and _sender(one))] = None
    billing_stripe_mails: Annotated[frozenset[str], NoDecode, BeforeValidator(_letters)] = frozenset()
    billing_mail_max_age_days: Annotated[int, Field(ge=1, le=365)] = 7
    billing_brand_name: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(_one_line)] = "Billing"
    billing_brand_logo: Annotated[Path | None, AfterValidator(lambda file: file and _logo(file))] = None
    billing_brand_color: Annotated[str, AfterValidator(_colour)] = "#3552d1"
    billing_brand_address: str | None = None
    billing_brand_support_url: Annotated[str | None, AfterValidator(lambda url: url and _support(url))] = None
    billing_brand_url: Annotated[str | None, AfterValidator(lambda url: url and _page(url))] = None
    billing_default_locale: Annotated[str, AfterValidator(_locale)] = "en"
    billing_default_timezone: Annotated[str, AfterValidator(_time_zone)] = "UTC"
    storage_url: Annotated[str | None, Field(repr=False), AfterValidator(lambda url: url and _storage_url(url))] = None
    billing_sellers_file: Path | None = None
    billing_stripe_documents: Annotated[frozenset[str], NoDecode, BeforeValidator(_documents)] = frozenset()
    billing_public_url: Annotated[str | None, AfterValidator(lambda url: url and _page(url))] = None
    billing_admin_url: Annotated[str | None, AfterValidator(lambda url: url and _page(url))] = None
    billing_link_secret: Annotated[SecretStr | None, AfterValidator(_long_secret)] = None
    billing_link_days: Annotated[int, Field(ge=1, le=365)] = 30
    billing_pdf_processes: Annotated[int | None, Field(ge=1, le=64)] = None
    billing_pdf_seconds: Annotated[float, Field(ge=1, le=600)] = 60.0
    billing_pdf_megabytes: Annotated[int, Field(ge=256, le=16384)] = 1024
    billing_reconcile_repair: Annotated[frozenset[str], NoDecode, BeforeValidator(_repairs)] = frozenset()
    billing_partner_grace_hours: Annotated[int, Field(ge=0, le=72)] = 6
    log_format: Literal["json", "console"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _mode_from_key(self) -> Self:
        """Without STRIPE_MODE the key's prefix tells the mode: https://docs.stripe.com/keys."""
        if "stripe_mode" not in self.model_fields_set and self.stripe_secret_key is not None:
            key = self.stripe_secret_key.get_secret_value()
            for mode in (StripeMode.LIVE, StripeMode.TEST):
                if f"_{mode}_" in key[:8]:
                    object.__setattr__(self, "stripe_mode", mode)
        return self

    @model_validator(mode="after")
    def _clock_of_a_demo(self) -> Self:
        """What a demo has left stays at its own time, whoever opens it: docs/demo.md."""
        clock = self.billing_home.expanduser() / "clock"
        if self.billing_clock_file is None and clock.with_name(DEMO_MARK).is_file() and clock.is_file():
            object.__setattr__(self, "billing_clock_file", clock)
        return self

    @property
    def webhook_secrets(self) -> tuple[bytes, ...]:
        """The signing secrets, newest first as given; several while a secret is rolled."""
        if self.stripe_webhook_secret is None:
            return ()
        parts = self.stripe_webhook_secret.get_secret_value().split(",")
        return tuple(part.strip().encode() for part in parts if part.strip())

    @property
    def admin_sha256(self) -> bytes | None:
        """The SHA-256 of ADMIN_TOKEN, which is all that the public door is given of it."""
        if self.billing_admin_token_sha256 is not None:
            return bytes.fromhex(self.billing_admin_token_sha256)
        token = self.admin_token.get_secret_value().strip() if self.admin_token is not None else ""
        return hashlib.sha256(token.encode()).digest() if token else None

    @property
    def sendgrid_keys(self) -> tuple[bytes, ...]:
        """The public keys (DER) that SendGrid's events may be signed with; several while they are changed."""
        return _public_keys(self.sendgrid_webhook_key) if self.sendgrid_webhook_key else ()


def load_settings(**overrides: Any) -> Settings:
    """Read the environment. Raises ConfigurationError naming each variable that is wrong, and what to write instead."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors(include_input=False)
        ]
        raise ConfigurationError("\n".join(lines)) from None
