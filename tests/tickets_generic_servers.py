"""Servers that hold what forges, GitLab, Zammad and a system of one's own hold, as their vendors document it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tests.tickets_generic import TEXT, TITLE, Answer, Desk, page


class Forge(Desk):
    """Issues and comments as GitHub and Forgejo document them; of one repository, `shop/tickets`."""

    base = ""
    me = "snapshot-bot"
    largest = 100
    routes = (
        ("GET", r".*/user", "user"),
        ("GET", r".*/repos/([^/]+/[^/]+)", "repository"),
        ("GET", r".*/repos/[^/]+/[^/]+/labels", "all_labels"),
        ("POST", r".*/repos/[^/]+/[^/]+/labels", "make_label"),
        ("GET", r".*/repos/[^/]+/[^/]+/issues", "list"),
        ("GET", r".*/issues/(\d+)", "issue"),
        ("GET", r".*/issues/(\d+)/comments", "comments_of"),
        ("POST", r".*/issues/(\d+)/comments", "comment"),
        ("PATCH", r".*/issues/comments/(\d+)", "edit"),
        ("DELETE", r".*/issues/comments/(\d+)", "delete"),
        ("GET", r".*/issues/(\d+)/events", "events_of"),
        ("GET", r".*/issues/(\d+)/labels", "labels_of"),
        ("POST", r".*/issues/(\d+)/labels", "label"),
        ("DELETE", r".*/issues/(\d+)/labels/(.+)", "unlabel"),
    )

    def __init__(self):
        super().__init__()
        self.private = True
        self.visibility = "private"
        self.issues = {}
        self.comments = {}
        self.labels = {}
        self.events = []

    def happens(self, event, actor, **given):
        """An event of the issue, as https://docs.github.com/en/rest/using-the-rest-api/issue-event-types shows it."""
        one = {"id": next(self.ids), "event": event, "actor": {"login": actor}, "created_at": self.tick(), **given}
        self.events.append(one)

    def events_of(self, asked):
        return Answer(200, page(self.events, asked, self.largest))

    def add(self, number=12, title=TITLE, body=TEXT, user="ann", **given):
        at = self.tick()
        self.issues[number] = {
            "id": 1000 + number, "number": number, "title": title, "body": body, "user": {"login": user}, "state": "open",
            "labels": [], "milestone": None, "created_at": at, "updated_at": at,
        } | given  # fmt: skip
        return self.issues[number]

    def say(self, number, user, body, **given):
        """A comment, as by the web page."""
        one, at = next(self.ids), self.tick()
        self.comments[one] = {
            "id": one, "number": number, "user": {"login": user}, "body": body, "created_at": at,
            "html_url": f"https://forge.example/{number}#{one}",
        } | given  # fmt: skip
        self.issues[number]["updated_at"] = at
        return self.comments[one]

    def user(self, _):
        return Answer(200, {"login": self.me})

    def repository(self, asked):
        if asked.parts[0] != "shop/tickets":
            return Answer(404, {"message": "Not Found"})
        return Answer(200, {"full_name": asked.parts[0], "private": self.private, "visibility": self.visibility})

    def list(self, asked):
        since = asked.query.get("since", "")
        rows = [issue for issue in self.issues.values() if issue["updated_at"] >= since]
        rows.sort(key=lambda issue: (issue["updated_at"], issue["number"]))
        if asked.query.get("direction") == "desc":
            rows.reverse()
        return Answer(200, page(rows, asked, self.largest))

    def issue(self, asked):
        found = self.issues.get(int(asked.parts[0]))
        return Answer(200, found) if found else Answer(404, {"message": "Not Found"})

    def comments_of(self, asked):
        number = int(asked.parts[0])
        if number not in self.issues:
            return Answer(404, {"message": "Not Found"})
        return Answer(
            200, page([one for one in self.comments.values() if one["number"] == number], asked, self.largest)
        )

    def comment(self, asked):
        if int(asked.parts[0]) not in self.issues:
            return Answer(404, {"message": "Not Found"})
        return Answer(201, self.say(int(asked.parts[0]), self.me, asked.body["body"]))

    def edit(self, asked):
        found = self.comments.get(int(asked.parts[0]))
        if not found:
            return Answer(404, {"message": "Not Found"})
        found["body"] = asked.body["body"]
        return Answer(200, found)

    def delete(self, asked):
        return Answer(204 if self.comments.pop(int(asked.parts[0]), None) else 404)

    def all_labels(self, asked):
        return Answer(200, page([{"id": i, "name": n} for n, i in self.labels.items()], asked, self.largest))

    def make_label(self, asked):
        self.labels[asked.body["name"]] = next(self.ids)
        return Answer(201, {"id": self.labels[asked.body["name"]], "name": asked.body["name"]})

    def labels_of(self, asked):
        return Answer(200, self.issues[int(asked.parts[0])]["labels"])

    def label(self, asked):
        """By name, as GitHub takes them, which makes those that are not there; or by id, as Forgejo does."""
        names = {number: name for name, number in self.labels.items()}
        for one in asked.body["labels"]:
            name = names[one] if isinstance(one, int) else one
            number = self.labels.setdefault(name, next(self.ids))
            self.issues[int(asked.parts[0])]["labels"].append({"id": number, "name": name})
        return Answer(200, self.issues[int(asked.parts[0])]["labels"])

    def unlabel(self, asked):
        number, one = asked.parts
        kept = [label for label in self.issues[int(number)]["labels"] if one not in (label["name"], str(label["id"]))]
        self.issues[int(number)]["labels"] = kept
        return Answer(204)

    def bodies(self, number=12):
        """What stands below an issue."""
        return [one["body"] for one in self.comments.values() if one["number"] == number]


class GitLab(Desk):
    """Issues and notes as GitLab documents them; of one project, `shop/tickets`."""

    me = "project_7_bot"
    routes = (
        ("GET", r"/api/v4/user", "user"),
        ("GET", r"/api/v4/projects/([^/]+)", "project"),
        ("GET", r"/api/v4/projects/[^/]+/issues", "list"),
        ("GET", r"/api/v4/projects/[^/]+/issues/(\d+)", "issue"),
        ("PUT", r"/api/v4/projects/[^/]+/issues/(\d+)", "change_issue"),
        ("GET", r"/api/v4/projects/[^/]+/issues/(\d+)/notes", "notes_of"),
        ("GET", r"/api/v4/projects/[^/]+/issues/(\d+)/resource_state_events", "states_of"),
        ("POST", r"/api/v4/projects/[^/]+/issues/(\d+)/notes", "note"),
        ("PUT", r"/api/v4/projects/[^/]+/issues/\d+/notes/(\d+)", "edit"),
        ("DELETE", r"/api/v4/projects/[^/]+/issues/\d+/notes/(\d+)", "delete"),
    )

    def __init__(self):
        super().__init__()
        self.visibility = "private"
        self.states = []
        # An account without the right to internal notes gets a public one.
        self.internal = True
        self.issues = {}
        self.notes = {}

    def add(self, number=12, title=TITLE, body=TEXT, user="ann", **given):
        at = self.tick()
        self.issues[number] = {
            "id": 1000 + number, "iid": number, "title": title, "description": body, "author": {"username": user},
            "state": "opened", "labels": [], "confidential": False, "created_at": at, "updated_at": at,
        } | given  # fmt: skip
        return self.issues[number]

    def turns(self, state, user):
        """A change of the issue's state, as https://docs.gitlab.com/api/resource_state_events/ shows it."""
        one = {"id": next(self.ids), "state": state, "user": {"username": user}, "created_at": self.tick()}
        self.states.append(one)

    def states_of(self, asked):
        return Answer(200, page(self.states, asked, 100))

    def say(self, number, user, body, *, internal=False, system=False):
        one, at = next(self.ids), self.tick()
        self.notes[one] = {
            "id": one, "noteable_iid": number, "author": {"username": user}, "body": body, "system": system,
            "internal": internal, "confidential": internal, "created_at": at,
        }  # fmt: skip
        self.issues[number]["updated_at"] = at
        return self.notes[one]

    def user(self, _):
        return Answer(200, {"username": self.me})

    def project(self, asked):
        return Answer(200, {"path_with_namespace": asked.parts[0], "visibility": self.visibility})

    def list(self, asked):
        since = asked.query.get("updated_after", "")[:19]
        rows = sorted(
            (i for i in self.issues.values() if i["updated_at"] >= since), key=lambda i: (i["updated_at"], i["iid"])
        )
        return Answer(200, page(rows[:: -1 if asked.query["sort"] == "desc" else 1], asked))

    def issue(self, asked):
        found = self.issues.get(int(asked.parts[0]))
        return Answer(200, found) if found else Answer(404, {"message": "404 Not found"})

    def change_issue(self, asked):
        labels = self.issues[int(asked.parts[0])]["labels"]
        gone = asked.body.get("remove_labels", "").split(",")
        labels[:] = [label for label in labels if label not in gone]
        labels += [label for label in asked.body.get("add_labels", "").split(",") if label]
        return Answer(200, self.issues[int(asked.parts[0])])

    def notes_of(self, asked):
        if int(asked.parts[0]) not in self.issues:
            return Answer(404, {"message": "404 Not found"})
        return Answer(
            200, page([one for one in self.notes.values() if one["noteable_iid"] == int(asked.parts[0])], asked)
        )

    def note(self, asked):
        if int(asked.parts[0]) not in self.issues:
            return Answer(404, {"message": "404 Not found"})
        private = asked.body.get("internal", False) and self.internal
        return Answer(201, self.say(int(asked.parts[0]), self.me, asked.body["body"], internal=private))

    def edit(self, asked):
        found = self.notes.get(int(asked.parts[0]))
        if not found:
            return Answer(404, {"message": "404 Not found"})
        found["body"] = asked.body["body"]
        return Answer(200, found)

    def delete(self, asked):
        return Answer(204 if self.notes.pop(int(asked.parts[0]), None) else 404)

    def bodies(self, number=12):
        return [one["body"] for one in self.notes.values() if one["noteable_iid"] == number and not one["system"]]


class Zammad(Desk):
    """Tickets and articles as Zammad's API and its controllers have them."""

    me = {"id": 9, "login": "snapshot@shop.example", "email": "snapshot@shop.example", "roles": ["Agent"]}  # noqa: RUF012
    routes = (
        ("GET", r"/api/v1/users/me", "user"),
        ("GET", r"/api/v1/tickets/search", "search"),
        ("GET", r"/api/v1/tickets", "list"),
        ("GET", r"/api/v1/tickets/(\d+)", "ticket"),
        ("PUT", r"/api/v1/tickets/(\d+)", "change_ticket"),
        ("GET", r"/api/v1/ticket_articles/by_ticket/(\d+)", "articles_of"),
        ("POST", r"/api/v1/ticket_articles", "article"),
        ("DELETE", r"/api/v1/ticket_articles/(\d+)", "delete"),
        ("GET", r"/api/v1/tags", "tags_of"),
        ("POST", r"/api/v1/tags/add", "tag"),
        ("DELETE", r"/api/v1/tags/remove", "untag"),
    )

    def __init__(self):
        super().__init__()
        self.tickets = {}
        self.articles = {}
        self.tags = {}
        # How long a note's writer may delete it, as `ui_ticket_zoom_article_delete_timeframe`.
        self.deletable = timedelta(minutes=10)
        self.agent = True
        self.elasticsearch = True

    def add(self, number=12, title=TITLE, body=TEXT, user="ann@example.com", **given):
        at = self.tick()
        self.tickets[number] = {
            "id": number, "number": f"6600{number}", "title": title, "customer": user, "customer_id": 5, "group": "Users", "group_id": 1,
            "state": "open", "state_id": 2, "priority": "2 normal", "priority_id": 2, "owner": "-", "owner_id": 1, "article_count": 1,
            "created_at": at, "updated_at": at, "created_by": user, "updated_by": user, "note": None, "preferences": {},
        } | given  # fmt: skip
        self.say(number, user, f"<p>{body}</p>", sender="Customer")
        return self.tickets[number]

    def say(self, number, user, body, *, internal=False, sender="Customer", subject="", by=5, **given):
        one, at = next(self.ids), self.tick()
        self.articles[one] = {
            "id": one, "ticket_id": number, "subject": subject, "body": body, "content_type": "text/html", "internal": internal,
            "sender": sender, "type": "web", "created_by": user, "created_by_id": by, "created_at": at,
        } | given  # fmt: skip
        self.tickets[number]["updated_at"] = at
        return self.articles[one]

    def user(self, _):
        return Answer(200, self.me | ({} if self.agent else {"roles": ["Customer"]}))

    def ticket(self, asked):
        found = self.tickets.get(int(asked.parts[0]))
        return Answer(200, found) if found else Answer(404, {"error": "Couldn't find Ticket"})

    def list(self, asked):
        return Answer(200, page(list(self.tickets.values()), asked))

    def search(self, asked):
        since = re.match(r"updated_at:\[(\S+) TO", asked.query["query"])[1]
        rows = [ticket for ticket in self.tickets.values() if ticket["updated_at"] >= since and self.elasticsearch]
        rows.sort(key=lambda ticket: (ticket["updated_at"], ticket["id"]), reverse=asked.query["order_by"] == "desc")
        return Answer(200, page(rows, asked))

    def change_ticket(self, asked):
        self.tickets[int(asked.parts[0])].update(asked.body)
        return Answer(200, self.tickets[int(asked.parts[0])])

    def articles_of(self, asked):
        if int(asked.parts[0]) not in self.tickets:
            return Answer(404, {"error": "Couldn't find Ticket"})
        return Answer(200, [one for one in self.articles.values() if one["ticket_id"] == int(asked.parts[0])])

    def article(self, asked):
        given = dict(asked.body)
        number = given.pop("ticket_id")
        if number not in self.tickets:
            return Answer(404, {"error": "Couldn't find Ticket"})
        # `HtmlSanitizer` takes comments out; a customer's article is public whatever was asked for.
        body = re.sub(r"(?s)<!--.*?-->", "", given.pop("body"))
        given["internal"] = given["internal"] and self.agent
        sender = "Agent" if self.agent else "Customer"
        return Answer(201, self.say(number, self.me["login"], body, sender=sender, by=self.me["id"], **given))

    def delete(self, asked):
        found = self.articles.get(int(asked.parts[0]))
        if not found:
            return Answer(404, {"error": "Couldn't find Ticket::Article"})
        if found["created_by_id"] != self.me["id"]:
            return Answer(403, {"error": "you can only delete your own notes"})
        if self.clock - datetime.fromisoformat(found["created_at"]) >= self.deletable:
            return Answer(403, {"error": "note is too old to be deleted"})
        del self.articles[found["id"]]
        return Answer(200, {})

    def tags_of(self, asked):
        return Answer(200, {"tags": self.tags.get(asked.query["o_id"], [])})

    def tag(self, asked):
        self.tags.setdefault(asked.body["o_id"], []).append(asked.body["item"])
        return Answer(201, True)

    def untag(self, asked):
        self.tags[asked.body["o_id"]].remove(asked.body["item"])
        return Answer(201, True)

    def bodies(self, number=12):
        return [one["body"] for one in self.articles.values() if one["ticket_id"] == number]


class Own(Desk):
    """A ticket system that somebody built: comments with `internal` true or false, below a ticket."""

    me = "snapshot"
    routes = (
        ("GET", r"/v2/tickets/([^/]+)", "ticket"),
        ("PUT", r"/v2/tickets/([^/]+)/snapshot", "set"),
        ("GET", r"/v2/tickets/([^/]+)/comments", "comments_of"),
        ("POST", r"/v2/tickets/([^/]+)/comments", "comment"),
        ("PATCH", r"/v2/tickets/[^/]+/comments/(\d+)", "edit"),
        ("DELETE", r"/v2/tickets/[^/]+/comments/(\d+)", "delete"),
    )

    def __init__(self):
        super().__init__()
        self.tickets = {}
        self.comments = {}
        self.fields = {}
        self.internal = True

    def add(self, number="T-12", title=TITLE, body=TEXT, user="ann", **given):
        self.tickets[number] = {
            "key": number, "summary": title, "text": body, "opened": self.tick(), "reporter": {"id": user},
            "order": {"no": "A-1"}, "device": "Pixel 9", "comments": [],
        } | given  # fmt: skip
        return self.tickets[number]

    def say(self, number, user, body, *, internal=False):
        one = next(self.ids)
        self.comments[one] = {"id": one, "ticket": number, "by": user, "text": body, "internal": internal}
        return self.comments[one]

    def ticket(self, asked):
        found = self.tickets.get(asked.parts[0])
        return Answer(200, {"data": found}) if found else Answer(404)

    def set(self, asked):
        self.fields[asked.parts[0]] = asked.body
        return Answer(200, {"visible_to": "staff"})

    def comments_of(self, asked):
        if asked.parts[0] not in self.tickets:
            return Answer(404)
        return Answer(200, {"items": [one for one in self.comments.values() if one["ticket"] == asked.parts[0]]})

    def comment(self, asked):
        if asked.parts[0] not in self.tickets:
            return Answer(404)
        private = asked.body["internal"] and self.internal
        return Answer(201, self.say(asked.parts[0], self.me, asked.body["text"], internal=private))

    def edit(self, asked):
        found = self.comments.get(int(asked.parts[0]))
        if not found:
            return Answer(404)
        found["text"] = asked.body["text"]
        return Answer(200, found)

    def delete(self, asked):
        return Answer(204 if self.comments.pop(int(asked.parts[0]), None) else 404)

    def bodies(self, number="T-12"):
        return [one["text"] for one in self.comments.values() if one["ticket"] == number]
