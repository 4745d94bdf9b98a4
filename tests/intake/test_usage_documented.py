"""What the door for usage may answer, and every field of an event, stand in its documentation."""

import re
from pathlib import Path

from intake import usage
from intake.usage_rows import FIELDS, WANTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "usage.md").read_text()


def test_every_outcome_is_documented() -> None:
    told = {
        outcome
        for module in ("usage.py", "usage_access.py")
        for outcome in re.findall(
            r'(?:RefusalError\([^"]*?|_unauthorized\()"(\w+)"', (ROOT / "intake" / module).read_text()
        )
    }
    body = (ROOT / "intake" / "webhook.py").read_text().split("async def read_body")[1]
    told |= set(re.findall(r'RejectionError\(\s*\d+, "(\w+)"', body))
    told |= {"accepted", "malformed", "bad_rows", "expired", "revoked"}
    table = re.findall(r"^\| \d{3} \| (.*?) \|", PAGE, re.MULTILINE)
    assert told == set(re.findall(r"`(\w+)`", "".join(table)))


def test_every_field_is_documented_and_described() -> None:
    assert set(FIELDS) == set(WANTED)
    schema = usage.OPENAPI["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(schema["oneOf"][0]["properties"]) == set(FIELDS)
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.split("### Repeating")[0], re.MULTILINE)) == set(FIELDS)
