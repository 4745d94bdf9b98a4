"""The two verbs by which work says that it cannot go on now; every other exception is a bug: retried, then parked."""

from datetime import timedelta


class TryLater(Exception):  # noqa: N818 - a verb, not an error: nothing is wrong yet
    """What is needed is not there yet: run the work again, after `after` or by the usual backoff.

    It counts as a try, so that a wait without end is parked as `exhausted`.
    """

    def __init__(self, reason: str, *, after: timedelta | None = None) -> None:
        """`reason` is shown to operators; `after` honours a `Retry-After`."""
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Held(TryLater):
    """Another worker is at the same thing: nothing was tried, so no try is burnt, and nothing is told of it."""


class Refused(Exception):  # noqa: N818 - a verb: the work itself must not be done
    """No retry can help: the work is parked at once, and `reason` says what to do."""

    def __init__(self, reason: str) -> None:
        """`reason` is shown to operators: say what is wrong and what would mend it."""
        super().__init__(reason)
        self.reason = reason


class WrongFields(Refused):
    """What is asked for cannot be: each mistake as (the field's name in the books, what to write)."""

    def __init__(self, *told: tuple[str, str]) -> None:
        """Each is told to whoever asked, by the name that the field has there."""
        super().__init__("; ".join(f"{field}: {said}" for field, said in told))
        self.told = told


class Unclear(TryLater):
    """No answer came to what we asked of the outside: it may have been done. Look before it is done again."""


class Spent(Unclear):
    """The idempotency key answers as it did before, with a failure, and will for a day: nothing was done now.

    Look whether it was done then, and ask by another key: https://docs.stripe.com/api/idempotent_requests.
    """


class Undeliverable(Refused):
    """The recipient's address was refused for good: no letter will ever arrive there."""


class Unconfigured(Refused):
    """What is needed of the outside is not configured here, such as an API key: some work can do without."""
