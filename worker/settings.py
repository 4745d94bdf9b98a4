"""What a deployment can set, checked as a whole at start: every mistake is named at once, with its fix."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


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
            scheme = urlsplit(value).scheme
        except ValueError:
            scheme = ""
        if scheme not in schemes:
            allowed = ", ".join(f"{s}://" for s in schemes)
            raise ValueError(f"begins with none of {allowed}; for example {example}")
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
    admin_token: SecretStr | None = None
    billing_lease_seconds: Annotated[float, Field(ge=1, le=300)] = 15.0
    billing_grace_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    billing_webhook_writers: Annotated[int, Field(ge=1, le=32)] = 2
    log_format: Annotated[str, Field(pattern="^(json|console)$")] = "console"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @model_validator(mode="after")
    def _mode_from_key(self) -> Self:
        """Without STRIPE_MODE the key's prefix tells the mode: https://docs.stripe.com/keys."""
        if "stripe_mode" not in self.model_fields_set and self.stripe_secret_key is not None:
            key = self.stripe_secret_key.get_secret_value()
            for mode in (StripeMode.LIVE, StripeMode.TEST):
                if f"_{mode}_" in key[:8]:
                    object.__setattr__(self, "stripe_mode", mode)
        return self

    @property
    def webhook_secrets(self) -> tuple[bytes, ...]:
        """The signing secrets, newest first as given; several while a secret is rolled."""
        if self.stripe_webhook_secret is None:
            return ()
        parts = self.stripe_webhook_secret.get_secret_value().split(",")
        return tuple(part.strip().encode() for part in parts if part.strip())


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
