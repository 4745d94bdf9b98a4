"""What Stripe answers when it says no: https://docs.stripe.com/api/errors."""

from typing import Any

Json = dict[str, Any]


class StripeError(Exception):
    """An answer other than 200. It may show more: the payment intent, the decline code."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        **more: Any,
    ) -> None:
        """`more` stands in the error as it is: `decline_code`, `charge`, `payment_intent`."""
        super().__init__(message)
        self.status = status
        self.body: Json = {"type": kind, "message": message}
        if code is not None:
            self.body["code"] = code
            self.body["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param is not None:
            self.body["param"] = param
        self.body |= {name: value for name, value in more.items() if value is not None}


def missing(kind: str, id: str, param: str = "id") -> StripeError:
    """No such object: 404 where the address names it (`param` is `id`), 400 where a parameter does."""
    return StripeError(
        f"No such {kind.replace('_', ' ').replace('.', ' ')}: '{id}'",
        status=404 if param == "id" else 400,
        code="resource_missing",
        param=param,
    )


def card_error(message: str, *, code: str, decline_code: str | None = None, **more: Any) -> StripeError:
    """The bank, or the card, said no: 402."""
    return StripeError(message, status=402, kind="card_error", code=code, decline_code=decline_code, **more)
