"""Which types of events Stripe has, by its own SDK: what was typed is checked before Stripe is asked."""

from typing import get_args, get_type_hints

import stripe


def event_types() -> frozenset[str]:
    """All types of this SDK's version: https://docs.stripe.com/api/events/types."""
    return frozenset(get_args(get_type_hints(stripe.Event)["type"]))
