"""The jobs of dunning stage each other: their names and arguments stand here, and a test holds them to the jobs."""

from db.dunning import Case
from db.states import QueueName
from worker.registry import Call

RESUME_COLLECTION = "resume_collection"
"""Undoes `pause_collection` when the invoice is paid."""


def turn_of(case: Case, *, forced: bool = False) -> Call:
    """Look at the case again in its present turn; `forced`: take the next step though it is not due."""
    return Call("take_step", QueueName.BATCH, {"case_id": case.id, "turn": case.turn, "forced": forced})


def action_of(case: Case, action: str) -> Call:
    """Do `action` at Stripe."""
    return Call("act_at_stripe", QueueName.BATCH, {"case_id": case.id, "action": action})


def look_of(case_id: int) -> Call:
    """Let the case follow the books."""
    return Call("follow_case", QueueName.BATCH, {"case_id": case_id})
