"""What the door may answer stands in its documentation."""

import re
from pathlib import Path

from db import envelope
from intake import webhook
from intake.signature import Reason

ROOT = Path(__file__).parents[2]


def test_every_outcome_is_documented() -> None:
    source = Path(webhook.__file__).read_text()
    outcomes = set(re.findall(r'RejectionError\(\s*\d+, "(\w+)"', source)) | {reason.value for reason in Reason}
    outcomes |= set(re.findall(r'MalformedError\("(\w+)"', Path(envelope.__file__).read_text()))
    outcomes |= {"accepted", "duplicate"}
    table = re.findall(r"^\| \d+ \| (.*?) \|", (ROOT / "docs" / "intake.md").read_text(), re.MULTILINE)
    assert outcomes == set(re.findall(r"`(\w+)`", "".join(table)))
