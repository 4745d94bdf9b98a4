"""Our verifier says what Stripe's SDK says, and no where the SDK should."""

from contextlib import suppress
from typing import Any

import pytest
import time_machine
from hypothesis import assume, given
from hypothesis import strategies as st
from stripe import SignatureVerificationError, WebhookSignature

from intake.signature import MAX_HEADER, TOLERANCE, BadSignatureError, Reason, sign, verify

NOW = 1_772_366_400
BODY = b'{\n  "id": "evt_1",\n  "object": "event"\n}'
SECRET = b"whsec_test"

SDK: Any = WebhookSignature

secrets = st.text(st.characters(codec="utf-8", exclude_characters=" \t\r\n\f\v"), min_size=1, max_size=40)
bodies = st.text(max_size=200)


def ours(header: bytes | None, body: bytes, *tried: bytes, now: float = NOW) -> Reason | None:
    try:
        verify(header, body, tried or (SECRET,), now=now)
    except BadSignatureError as error:
        return error.reason
    return None


def sdk_accepts(header: str, body: str | bytes, secret: str) -> bool:
    with time_machine.travel(NOW, tick=False), suppress(SignatureVerificationError):
        return SDK.verify_header(body, header, secret, TOLERANCE)
    return False


@given(body=bodies, secret=secrets, at=st.integers(NOW - 2 * TOLERANCE, NOW))
def test_equals_the_sdk_on_what_stripe_signs(body: str, secret: str, at: int) -> None:
    header: str = SDK.generate_signature_header(body, secret, at)
    assert sign(body.encode(), [secret.encode()], at=at) == header.encode()
    accepted = ours(header.encode(), body.encode(), secret.encode()) is None
    assert accepted == sdk_accepts(header, body, secret) == (at >= NOW - TOLERANCE)


items = st.one_of(
    st.sampled_from(
        ["t=@", "v1=@", "v0=@", "t=", "v1=", "v1", "t", "", " v1=@", "t= @", "t=+@", "v1=@=", "V1=@", "t=0"]
    ),
    st.text("tv01=, abc_-.", max_size=12),
)


@given(parts=st.lists(items, max_size=6), body=bodies, age=st.integers(0, 400))
def test_what_we_accept_the_sdk_accepts_too(parts: list[str], body: str, age: int) -> None:
    """In any header, made of true and false parts; the other way round only the named differences remain."""
    at = NOW - age
    true = sign(body.encode(), [SECRET], at=at).decode().rpartition("=")[2]
    header = ",".join(part.replace("@", str(at) if part.startswith(("t", " t")) else true) for part in parts)
    accepted = ours(header.encode(), body.encode()) is None
    theirs = sdk_accepts(header, body, SECRET.decode())
    if "+" in header or "t= " in header or "v1=" + true + "=" in header:
        assert theirs or not accepted  # Python's int() and split() are generous; we are not
    else:
        assert accepted == theirs


@given(body=bodies, wrong=secrets, others=st.lists(secrets, max_size=3))
def test_another_secret_is_refused(body: str, wrong: str, others: list[str]) -> None:
    assume(SECRET.decode() not in {wrong, *others})
    header = sign(body.encode(), [one.encode() for one in [wrong, *others]], at=NOW)
    assert ours(header, body.encode()) is Reason.MISMATCH


@given(body=st.binary(max_size=100), at=st.integers(0, len(BODY) - 1))
def test_one_changed_byte_is_refused(body: bytes, at: int) -> None:
    changed = BODY[:at] + body + BODY[at + 1 :]
    assume(changed != BODY)
    assert ours(sign(BODY, [SECRET], at=NOW), changed) is Reason.MISMATCH


@given(header=st.binary(max_size=300), body=st.binary(max_size=300))
def test_nonsense_is_refused_and_never_an_error(header: bytes, body: bytes) -> None:
    assert ours(header, body) is not None


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (None, Reason.MISSING),
        (b"", Reason.MISSING),
        (b"v1=abc", Reason.MALFORMED),
        (b"t=1772366400", Reason.MALFORMED),
        (b"t=1772366400,v0=abc", Reason.MALFORMED),
        (b"t=later,v1=abc", Reason.MALFORMED),
        (b"t=" + b"9" * 5000 + b",v1=abc", Reason.MALFORMED),
        (b"t=1772366400,v1=abc", Reason.MISMATCH),
    ],
)
def test_reasons(header: bytes | None, reason: Reason) -> None:
    assert ours(header, BODY) is reason


def test_every_secret_may_have_made_every_v1() -> None:
    """While a secret is rolled Stripe signs with both, and we know both."""
    both = sign(BODY, [b"whsec_old", b"whsec_new"], at=NOW)
    assert ours(both, BODY, b"whsec_new") is None
    assert ours(both, BODY, b"whsec_old") is None
    assert ours(sign(BODY, [b"whsec_new"], at=NOW), BODY, b"whsec_old", b"whsec_new") is None
    assert ours(both, BODY, b"whsec_third") is Reason.MISMATCH


def test_v0_is_ignored_even_if_it_is_right() -> None:
    header = sign(BODY, [SECRET], at=NOW).replace(b"v1=", b"v0=") + b",v1=00"
    assert ours(header, BODY) is Reason.MISMATCH


@pytest.mark.parametrize(
    ("age", "reason"),
    [(300, None), (301, Reason.STALE), (-300, None), (-301, Reason.FUTURE), (-10_000_000, Reason.FUTURE)],
)
def test_the_tolerance_holds_in_both_directions(age: int, reason: Reason | None) -> None:
    assert ours(sign(BODY, [SECRET], at=NOW - age), BODY) is reason


def test_stricter_than_the_sdk_about_the_future() -> None:
    """The SDK takes a timestamp of next year: a signature that leaked could be replayed for ever."""
    header = sign(BODY, [SECRET], at=NOW + 31_536_000)
    assert sdk_accepts(header.decode(), BODY, SECRET.decode())
    assert ours(header, BODY) is Reason.FUTURE


def test_stricter_than_the_sdk_about_numbers() -> None:
    """Python's `int` reads `1_7…`, `+17…`, spaces and Arabic digits; Stripe writes ASCII digits."""
    signature = sign(BODY, [SECRET], at=NOW).decode()
    for written in ("1_772_366_400", "+1772366400", " 1772366400", "١٧٧٢٣٦٦٤٠٠"):
        header = signature.replace("1772366400", written)
        assert sdk_accepts(header, BODY, SECRET.decode())
        assert ours(header.encode(), BODY) is Reason.MALFORMED


def test_a_refusal_where_the_sdk_breaks() -> None:
    """A stranger can make the SDK raise UnicodeDecodeError or TypeError, which a web framework answers with 500."""
    with pytest.raises(UnicodeDecodeError):
        sdk_accepts("t=1772366400,v1=abc", b"\xff", SECRET.decode())
    assert ours(b"t=1772366400,v1=abc", b"\xff") is Reason.MISMATCH
    with pytest.raises(TypeError):
        sdk_accepts("t=1772366400,v1=é", BODY, SECRET.decode())
    assert ours("t=1772366400,v1=é".encode("latin-1"), BODY) is Reason.MISMATCH


def test_a_huge_header_is_refused_before_it_is_read() -> None:
    good = sign(b"x", (b"s",), at=1)
    verify(good + b",v0=" + b"0" * (MAX_HEADER - len(good) - 4), b"x", (b"s",), now=1)
    with pytest.raises(BadSignatureError) as error:
        verify(good + b",v0=" + b"0" * MAX_HEADER, b"x", (b"s",), now=1)
    assert error.value.reason is Reason.MALFORMED
