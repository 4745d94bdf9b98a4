"""A letter is written: from its facts, in its reader's language, as text and as HTML, and put into an envelope."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from email.errors import MessageError
from email.header import Header
from email.headerregistry import Address, HeaderRegistry, UniqueAddressHeader, UniqueUnstructuredHeader
from email.message import EmailMessage
from email.policy import SMTP, Policy
from email.utils import format_datetime, parseaddr
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from css_inline import CSSInliner
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.ext import InternationalizationExtension
from jinja2.runtime import Context as TemplateContext

from jobs.mail.brand import Brand
from jobs.mail.contexts import LETTERS, Context, Letter
from jobs.mail.words import TEMPLATES, Words, catalog, negotiate
from worker.errors import Refused

_INLINER = CSSInliner(load_remote_stylesheets=False, keep_style_tags=False, keep_at_rules=True)

BREAKS = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
"""What would end a header's line, or cannot be sent: https://www.rfc-editor.org/rfc/rfc5322#section-2.2."""


LONGEST_PLAIN = 400
"""Longer headers are encoded even if they are ASCII, because one word may not be longer than a line, 998 bytes."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A letter as it will be read. `locale` is the one that it was written in (BCP 47), not the one wished for."""

    subject: str
    text: str
    html: str
    locale: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A PDF that goes with a letter."""

    name: str
    content: bytes


def _filter(name: str) -> Callable[..., str]:
    """The template's filter `name`, as the reader of the letter at hand writes it."""

    @pass_context
    def apply(context: TemplateContext, value: Any) -> str:
        return getattr(context["words"], name)(value)

    return apply


@cache
def _environment(language: str, form: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=form == "html",  # noqa: S701 - the other form is plain text
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=[InternationalizationExtension],
    )
    said = catalog(language)
    install: Any = getattr(environment, "install_gettext_callables")  # noqa: B009 - the extension adds it at run time
    install(said.ugettext, said.ungettext, newstyle=True)
    environment.filters.update({name: _filter(name) for name in Words.FILTERS})
    return environment


def _letter(name: str) -> Letter:
    letter = LETTERS.get(name)
    if letter is None:
        near = get_close_matches(name, LETTERS, n=1)
        raise Refused(f"there is no letter {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return letter


def _read(name: str, letter: Letter, context: Any) -> Context:
    try:
        return msgspec.convert(context, letter.context)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = where.rstrip("`") or "its facts"
        raise Refused(f"the letter {name!r} cannot be written: {field}: {what}") from error


@lru_cache(maxsize=256)
def _zone(name: str | None, default: str) -> ZoneInfo:
    """A customer's time zone comes from outside: one that is unknown must not keep the letter back."""
    for each in (name, default):
        try:
            return ZoneInfo(each or "")
        except (KeyError, OSError, ValueError):
            continue
    return ZoneInfo("UTC")


def _tidy(text: str) -> str:
    """Blank lines, one at most; none at the ends."""
    lines = [line if line == "-- " else line.rstrip(" \N{NO-BREAK SPACE}") for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"


def render(
    name: str, context: Mapping[str, Any], *, locale: str | None, timezone: str | None, brand: Brand
) -> Rendered:
    """Write the letter `name` about `context`, the JSON of its context type.

    `locale` is BCP 47, as in a customer's `preferred_locales`; an unknown one falls back to the brand's, and so does an
    unknown IANA `timezone`. Raises Refused naming the letter and the field when `context` does not fit.
    """
    letter = _letter(name)
    facts = _read(name, letter, context)
    words = Words(negotiate(locale, brand.default_locale), _zone(timezone, brand.default_timezone))
    derived = [part for part in dir(letter.context) if isinstance(getattr(letter.context, part), property)]
    given: dict[str, Any] = {field: getattr(facts, field) for field in (*letter.context.__struct_fields__, *derived)}
    given |= {"letter": name, "audience": letter.audience, "brand": brand, "words": words, "lang": words.tag}

    def written(file: str, form: str) -> str:
        return _environment(words.language, form).get_template(f"{name}/{file}").render(given, form=form)

    given["subject"] = subject = one_line(written("subject.txt", "txt"))
    return Rendered(
        subject=subject,
        text=_tidy(written("body.txt", "txt")),
        html=_INLINER.inline(written("body.html", "html").strip()),
        locale=words.tag,
    )


def one_line(text: str) -> str:
    """`text` as a header can carry it: a customer's name or a product's is no reason to keep a letter back."""
    return re.sub(" {2,}", " ", BREAKS.sub(" ", text)).strip(" ")


def _address(header: str, shown: str, spec: str) -> Address:
    """An address, its domain as DNS writes it. Raises Refused naming `header`."""
    local, at, domain = spec.rpartition("@")
    try:
        return Address(shown, addr_spec=local + at + domain.encode("idna").decode())
    except (MessageError, ValueError, IndexError) as error:
        raise Refused(f"{header}: {spec!r} is no address that mail can be sent to: {error}") from error


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for header, value in headers.items():
        if not re.fullmatch(r"[!-9;-~]+", header) or BREAKS.search(value):
            raise Refused(f"{header}: holds a line break or a control character, which a header may not: {value!r}")
    return headers


def _plain(text: str) -> bool:
    return text.isascii() and len(text) < LONGEST_PLAIN


def _folded(header: str, text: str, policy: Policy, *, plain: bool) -> str:
    return Header(text, "us-ascii" if plain else "utf-8", header_name=header).encode(linesep=policy.linesep)


class _Subject(UniqueUnstructuredHeader):
    """Folded as one encoded text: Python's own folding loses blanks between words, and with them `14. März`."""

    def fold(self: Any, *, policy: Policy) -> str:
        text = str(self)
        return f"{self.name}: {_folded(self.name, text, policy, plain=_plain(text))}{policy.linesep}"


class _OneAddress(UniqueAddressHeader):
    """The same for the name of an address."""

    def fold(self: Any, *, policy: Policy) -> str:
        (address,) = self.addresses
        if _plain(str(address)):
            return f"{self.name}: {_folded(self.name, str(address), policy, plain=True)}{policy.linesep}"
        shown = _folded(self.name, address.display_name, policy, plain=False)
        return f"{self.name}: {shown}{policy.linesep} <{address.addr_spec}>{policy.linesep}"


class _Headers(HeaderRegistry):
    """Python's own makes a class anew for each header that is set or written: a third of a letter's time."""

    def __init__(self: Any) -> None:
        super().__init__()
        self._made: dict[str, type] = {}

    def __getitem__(self: Any, name: str) -> Any:
        if (made := self._made.get(name)) is None:
            made = self._made[name] = super().__getitem__(name)
        return made


_HEADERS: Any = _Headers()
_HEADERS.map_to_type("subject", _Subject)
for _name in ("from", "to", "reply-to"):
    _HEADERS.map_to_type(_name, _OneAddress)
POLICY = SMTP.clone(header_factory=_HEADERS)
"""How a letter becomes bytes: `message(…).as_bytes()`."""


def _settle_boundaries(letter: EmailMessage, message_id: str) -> None:
    """A letter that is written twice is the same, byte for byte. `=_` comes up in no encoded body (RFC 2045, 6.7)."""
    whole = sha256(message_id.encode()).hexdigest()[:24]
    for number, part in enumerate(letter.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{whole}.{number}")


def message(
    rendered: Rendered,
    *,
    sender: str,
    recipient: str,
    recipient_name: str | None,
    message_id: str,
    date: datetime,
    brand: Brand,
    headers: Mapping[str, str] | None = None,
    attachments: Sequence[Attachment] = (),
) -> EmailMessage:
    """Put a letter into its envelope; the same arguments always make the same bytes.

    `sender` is `a@b.c` or `Name <a@b.c>`, `message_id` has its angle brackets, `date` is aware. Raises Refused naming
    the header that cannot be sent.
    """
    shown, spec = parseaddr(sender)
    name = one_line(recipient_name or "")
    texts = {"From": sender, "To": f"{name} {recipient}", "Subject": rendered.subject}
    _checked({**texts, "Message-ID": message_id, **(headers or {})})
    if not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", message_id):
        raise Refused(f"Message-ID: {message_id!r} is not of the form <left@right>")
    made = EmailMessage(policy=POLICY)
    author = _address("From", shown or brand.name, spec or sender)
    made["From"] = author
    made["To"] = _address("To", name, recipient)
    made["Subject"] = rendered.subject
    made["Date"] = format_datetime(date.astimezone(UTC))
    made["Message-ID"] = message_id
    if brand.support_mail:
        made["Reply-To"] = _address("Reply-To", brand.name, brand.support_mail)
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's out-of-office answers it
    made["X-Auto-Response-Suppress"] = "All"  # the same, for Exchange
    made["List-Id"] = f"<letters.{author.domain}>"
    for header, value in (headers or {}).items():
        if header in made:
            raise Refused(f"{header}: is set by the letter itself")
        made[header] = value
    encoding = "base64" if rendered.locale.startswith("ja") else "quoted-printable"
    made.set_content(rendered.text, cte=encoding)
    made.add_alternative(rendered.html, subtype="html", cte=encoding)
    if brand.logo is not None:
        page = made.get_payload(1)
        assert isinstance(page, EmailMessage)
        page.add_related(
            brand.logo.data,
            maintype="image",
            subtype=brand.logo.subtype,
            cid=f"<{brand.logo.cid}>",
            disposition="inline",
            filename=f"logo.{brand.logo.subtype}",
        )
    for each in attachments:
        made.add_attachment(each.content, maintype="application", subtype="pdf", filename=each.name)
    made["Content-Language"] = rendered.locale
    _settle_boundaries(made, message_id)
    return made
