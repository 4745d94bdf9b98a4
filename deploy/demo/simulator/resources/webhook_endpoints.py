"""Webhook endpoints: addresses that hear of events, each in an API version of its own and with its own secret."""

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.api import VERSION
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Text, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import page

TYPE = re.compile(r"\*|[a-z_0-9]+(\.[a-z_0-9]+)+")


class Create(Form):
    """https://docs.stripe.com/api/webhook_endpoints/create."""

    url: str
    enabled_events: list[str] = Field(min_length=1)
    api_version: str | None = None
    description: Text = None
    metadata: Metadata | None = None
    connect: Literal["false"] = "false"


class Update(Form):
    """https://docs.stripe.com/api/webhook_endpoints/update."""

    url: str | None = None
    enabled_events: list[str] | None = Field(default=None, min_length=1)
    disabled: bool | None = None
    description: Text = None
    metadata: Metadata | None = None


def _check(url: str | None, events: list[str] | None) -> None:
    if url is not None and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        raise StripeError(
            "Invalid URL: An explicit scheme (such as https) must be provided.", code="url_invalid", param="url"
        )
    for event in events or ():
        if not TYPE.fullmatch(event):
            raise StripeError(f"Invalid enabled_events: {event}", param="enabled_events")


def add_endpoint(
    a: Account, *, url: str, events: list[str], version: str | None = None, secret: str | None = None, **more: Any
) -> Json:
    """A new endpoint, which hears of all that happens from now on. Only this answer tells its secret."""
    _check(url, events)
    if version is not None and not VERSION.fullmatch(version):
        raise StripeError(f"Invalid API version: {version}", param="api_version")
    endpoint = a.add(
        {
            "id": a.store.new_id("we"),
            "object": "webhook_endpoint",
            "api_version": version,
            "application": None,
            "created": a.now(),
            "description": None,
            "enabled_events": events,
            "livemode": False,
            "metadata": {},
            "status": "enabled",
            "url": url,
            **more,
        }
    )
    secret = secret or f"whsec_{a.store.letters(32)}"
    a.store.hidden(endpoint["id"])["secrets"] = [{"secret": secret, "until": None}]
    if version is not None:
        a.versions.add(version)
    return endpoint | {"secret": secret}


@route("POST", "/v1/webhook_endpoints", Create)
def create(a: Account, form: Create) -> Json:
    """A new endpoint; its secret is told here and never again."""
    return add_endpoint(
        a,
        url=form.url,
        events=form.enabled_events,
        version=form.api_version,
        description=form.description,
        metadata=merge_metadata({}, form.metadata),
    )


@route("GET", "/v1/webhook_endpoints", ListForm)
def listed(a: Account, form: ListForm) -> Json:
    """Endpoints, newest first."""
    return page(a.store.all("webhook_endpoint"), form, "/v1/webhook_endpoints")


@route("GET", "/v1/webhook_endpoints/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """An endpoint, without its secret."""
    return a.store.need("webhook_endpoint", id)


@route("POST", "/v1/webhook_endpoints/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what is given; a disabled endpoint hears nothing, and what waited for it is not sent again."""
    endpoint = a.store.need("webhook_endpoint", id)
    _check(form.url, form.enabled_events)
    endpoint |= form.given("url", "enabled_events", "description")
    if form.disabled is not None:
        endpoint["status"] = "disabled" if form.disabled else "enabled"
    endpoint["metadata"] = merge_metadata(endpoint["metadata"], form.metadata)
    return endpoint


@route("DELETE", "/v1/webhook_endpoints/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """Forget the endpoint; events no longer wait for it."""
    endpoint = a.store.need("webhook_endpoint", id)
    a.store.remove(endpoint)
    for event, missing in list(a.undelivered.items()):
        missing.discard(id)
        if not missing:
            del a.undelivered[event]
    return {"id": id, "object": "webhook_endpoint", "deleted": True}
