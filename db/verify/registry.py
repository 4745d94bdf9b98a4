"""All that must hold in the books, in the order in which it is told."""

from db.verify import credits as credits_
from db.verify import dunning, invoices, payments, usage, work
from db.verify.invariant import Invariant

INVARIANTS: dict[str, Invariant] = {
    one.name: one
    for one in (
        *work.INVARIANTS,
        *payments.INVARIANTS,
        *invoices.INVARIANTS,
        *credits_.INVARIANTS,
        *usage.INVARIANTS,
        *dunning.INVARIANTS,
    )
}
"""By name."""
