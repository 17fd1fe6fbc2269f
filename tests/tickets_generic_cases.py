"""The systems that the laws of `test_tickets_generic_laws.py` are asked of."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from pipeline.tickets import cloudevents, forgejo, generic, github, gitlab, open_system, standard_webhooks, zammad
from pipeline.tickets._mapping import EventPaths, TicketPaths
from pipeline.tickets._requests import ListRequest, ReadRequest, WriteRequest
from tests.tickets_generic import TEXT, TITLE, Case
from tests.tickets_generic_servers import Forge, GitLab, Own, Zammad

STARTED = "2026-11-23T10:00:00Z"
WHSEC = tuple("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


class Forgejo(Forge):
    """Forgejo gives at most 50 rows a page, in its own order."""

    largest = 50


def mac(secret, data, algorithm="sha256"):
    return hmac.new(secret.encode(), data, algorithm)


def standard(body, secret, at, one="msg_1"):
    """The headers of Standard Webhooks, by the specification and not by the library that verifies them."""
    stamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, b".".join((one.encode(), stamp.encode(), body)), hashlib.sha256).digest()
    return {
        "webhook-id": one,
        "webhook-timestamp": stamp,
        "webhook-signature": "v1," + base64.b64encode(signed).decode(),
    }


# What a forge sends (https://docs.github.com/en/webhooks/webhook-events-and-payloads#issues).


def forge_issue():
    return {
        "action": "opened",
        "issue": {"number": 12, "title": TITLE, "body": TEXT, "created_at": STARTED, "user": {"login": "ann"}},
        "repository": {"full_name": "shop/tickets"},
        "sender": {"login": "ann"},
    }


def forge_comment(user, body):
    return forge_issue() | {"action": "created", "comment": {"body": body}, "sender": {"login": user}}


def gitlab_issue():
    return {
        "object_kind": "issue",
        "user": {"username": "ann"},
        "project": {"path_with_namespace": "shop/tickets"},
        "object_attributes": {
            "iid": 12, "title": TITLE, "description": TEXT, "created_at": "2026-11-23 10:00:00 UTC", "action": "open",
        },
    }  # fmt: skip


def gitlab_note(user, body):
    issue = gitlab_issue()
    return issue | {
        "object_kind": "note",
        "user": {"username": user},
        "object_attributes": {"id": 3, "note": body, "noteable_type": "Issue", "system": False, "action": "create"},
        "issue": issue["object_attributes"],
    }


def zammad_ticket():
    return {
        "ticket": {
            "id": 12,
            "number": "660012",
            "title": TITLE,
            "state": "new",
            "created_at": STARTED,
            "updated_by": {"login": "ann"},
        },
        "article": {
            "id": 1,
            "body": TEXT,
            "content_type": "text/plain",
            "sender": "Customer",
            "created_by": {"login": "ann"},
        },
    }


def zammad_article(user, body):
    sent = zammad_ticket()
    return sent | {"article": sent["article"] | {"body": body, "sender": "Agent", "created_by": {"login": user}}}


def own_ticket():
    return {
        "type": "ticket.created",
        "data": {"ticket": {"key": "T-12", "summary": TITLE, "text": TEXT, "opened": STARTED}, "by": "ann"},
    }


def own_comment(user, body):
    sent = own_ticket()
    return {"type": "comment.created", "data": sent["data"] | {"by": user, "comment": body}}


OWN: dict[str, Any] = {
    "event": EventPaths(
        id="data.ticket.key", title="data.ticket.summary", description="data.ticket.text", created_at="data.ticket.opened",
        kind="type", actor="data.by", due="contains(['ticket.created', 'comment.created'], type)",
    ),
    "read": ReadRequest(
        path="/tickets/{ticket_id}",
        ticket=TicketPaths(
            id="data.key", title="data.summary", description="data.text", created_at="data.opened", language="data.lang",
            comments="data.comments[?by == 'ann'].body", customer_id="data.reporter.id",
            questionnaire={"device_model": "data.device"}, custom_fields={"order_no": "data.order.no", "gone": "data.nothing.here"},
        ),
    ),
    "write": WriteRequest(path="/tickets/{ticket_id}/comments", body={"text": "{note}", "internal": True}, private="internal"),
    "notes": ListRequest(path="/tickets/{ticket_id}/comments", items="items", body="text", author="by", private="internal"),
    "change": WriteRequest(method="PATCH", path="/tickets/{ticket_id}/comments/{note_id}", body={"text": "{note}"}, private="internal"),
    "delete": WriteRequest(method="DELETE", path="/tickets/{ticket_id}/comments/{note_id}"),
    "user": "snapshot",
}  # fmt: skip


BARE = {"user": None, "write": None, "notes": None, "change": None, "delete": None}


def maker(module, **fixed):
    """Opens the module's system as the configuration would, by its options."""
    return lambda url, **given: open_system("desk", module.Options(**{"url": url} | fixed | given))


def hosted(module, **fixed):
    return lambda url, **given: maker(module, **fixed)(f"{url}/v2", **given)


def public_forge(server):
    server.private, server.visibility = False, "public"


CASES = {
    "github": Case(
        Forge, maker(github, repositories=("shop/tickets",), token="t", user=Forge.me), "shop/tickets#12",
        lambda body, secret, _: {"x-hub-signature-256": f"sha256={mac(secret, body).hexdigest()}"},
        forge_issue, forge_comment, {"x-github-event": "issue_comment", "x-github-delivery": "d-1"}, publish=public_forge,
    ),
    "forgejo": Case(
        Forgejo, maker(forgejo, repositories=("shop/tickets",), token="t", user=Forge.me), "shop/tickets#12",
        lambda body, secret, _: {"x-forgejo-signature": mac(secret, body).hexdigest()},
        forge_issue, forge_comment, {"x-forgejo-event": "issue_comment", "x-forgejo-delivery": "d-1"}, publish=public_forge,
    ),
    "gitlab": Case(
        GitLab, maker(gitlab, projects=("shop/tickets",), token="t", user=GitLab.me), "shop/tickets#12", standard,
        gitlab_issue, gitlab_note, secrets=WHSEC, timed=True, publish=lambda server: setattr(server, "internal", False),
    ),
    "zammad": Case(
        Zammad, maker(zammad, token="t", user=Zammad.me["login"]), "12",
        lambda body, secret, _: {"x-hub-signature": f"sha1={mac(secret, body, 'sha1').hexdigest()}"},
        zammad_ticket, zammad_article, {"x-zammad-delivery": "d-1"}, publish=lambda server: setattr(server, "agent", False),
    ),
    "generic": Case(
        Own, hosted(generic, **OWN, signature=generic.Signature(header="X-Desk-Signature", prefix="v0=", timestamp_header="X-Desk-Time",
                                                                  signed="{timestamp}:{body}")), "T-12",
        lambda body, secret, at: {
            "x-desk-time": at.isoformat(), "x-desk-signature": "v0=" + mac(secret, at.isoformat().encode() + b":" + body).hexdigest(),
        },
        own_ticket, own_comment, timed=True, publish=lambda server: setattr(server, "internal", False),
        key="T-12", unnamed=BARE,
    ),
    "standard_webhooks": Case(
        Own, hosted(standard_webhooks, **OWN), "T-12", standard, own_ticket, own_comment, secrets=WHSEC, timed=True,
        publish=lambda server: setattr(server, "internal", False),
        key="T-12", unnamed=BARE,
    ),
    "cloudevents": Case(
        Own, hosted(cloudevents, **OWN | {"event": EventPaths(id="data.data.ticket.key", title="data.data.ticket.summary", actor="data.data.by")}),
        "T-12", lambda _, secret, __: {"authorization": f"Bearer {secret}"}, own_ticket, own_comment,
        {"ce-id": "1", "ce-source": "/desk", "ce-type": "ticket.created", "ce-specversion": "1.0"},
        publish=lambda server: setattr(server, "internal", False),
        key="T-12", unnamed=BARE,
    ),
}  # fmt: skip
