"""django-helpdesk from PyPI, in an environment of its own under this folder, with a Django project and data of its own.

Its packages are locked by hash in `helpdesk_site/requirements.lock`, apart from this project's. It has a queue `support` that
customers may write to, two accounts (`agent`, and `problem-snapshot` with a token), and mail that goes to files.

The address is five, with a space between them: the desk, our account's token, where it posts to, the agent's password, and the folder.
`Desk` takes them apart, and does what customers and agents do.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from email.message import EmailMessage
from email.utils import getaddresses, make_msgid
from pathlib import Path
from typing import Any

import httpx

from tests.services import Running, Unavailable, free_port, last_lines, processes, run
from tests.services.processes import answers, launched, named, on_free_port, process_of

NAME = "helpdesk"
VERSION = "2.6.1"
SITE = Path(__file__).parent / "helpdesk_site"
KEPT = Path(__file__).parent / "helpdesk-target" / f"{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
CUSTOMER, AGENT = "customer@example.com", "agent@example.com"


def install() -> Path:
    """Fills the environment, and gives its Python. Raises `Unavailable` where the packages cannot be had."""
    python = KEPT / "bin" / "python"
    if (KEPT / ".ready").exists():
        return python
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv is None:
        reason = "uv is not installed: it is one of this project's development packages"
        raise Unavailable(reason)
    KEPT.parent.mkdir(exist_ok=True)
    for command in (
        (uv, "venv", "--quiet", "--clear", "--python", sys.executable, KEPT),
        (uv, "pip", "install", "--quiet", "--require-hashes", "--python", python, "-r", SITE / "requirements.lock"),
    ):
        done = run(*command)
        if done.returncode:
            reason = f"django-helpdesk cannot be installed: {last_lines(done, 1)[:300]}"
            raise Unavailable(reason)
    (KEPT / ".ready").touch()
    return python


def start() -> Running:
    """A desk on a free port with data of its own."""
    python = install()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-helpdesk-"))
    try:
        given = {
            "key": secrets.token_hex(24),
            "password": secrets.token_hex(12),
            "token": secrets.token_hex(20),
            "hook": f"http://127.0.0.1:{free_port()}/hooks/helpdesk/{secrets.token_hex(16)}",
        }
        settings = folder / "site.json"
        settings.touch(mode=0o600)
        settings.write_text(json.dumps(given), encoding="utf-8")
        made = run(python, SITE / "desk.py", "make", folder)
        if made.returncode:
            message = f"django-helpdesk's database cannot be made:\n{last_lines(made)}"
            raise RuntimeError(message)
        port = on_free_port(lambda port: serve(python, folder, port), "django-helpdesk", folder / processes.LOG)
        address = (f"http://127.0.0.1:{port}", given["token"], given["hook"], given["password"], str(folder))
        return Running(NAME, " ".join(address), str(folder))
    except BaseException:
        stop(str(folder))
        raise


def serve(python: Path, folder: Path, port: int) -> bool:
    """Runs the desk on the data of `folder` until it answers; false where it ends before."""
    command: list[str | Path] = [python, SITE / "desk.py", "serve", folder, str(port)]
    return launched(command, folder, lambda: answers(f"http://127.0.0.1:{port}/login/"), seconds=30)


def _pid(data: str) -> int | None:
    """The id of the server of the folder `data`, if it runs and is one."""
    return process_of(data, named(data))


def alive(data: str) -> bool:
    """Whether the desk of the folder `data` runs."""
    return _pid(data) is not None


def stop(data: str) -> None:
    """Stops the desk of the folder `data`, and deletes the folder."""
    processes.halt(data, lambda: _pid(data), ((signal.SIGTERM, 10), (signal.SIGKILL, 10)))
    shutil.rmtree(data, ignore_errors=True)


class Desk:
    """A django-helpdesk that runs, as its customers and agents use it.

    `url` and `token` are for our own account. It posts to `hook`, also while nobody listens there. One at a time can listen.
    """

    def __init__(self, address: str) -> None:
        self.url, self.token, self.hook, self.password, folder = address.split()
        self.folder = Path(folder)

    @property
    def secret(self) -> str:
        """What the hook's address ends with."""
        return self.hook.rpartition("/")[2]

    def ask(self, method: str, path: str, **given: Any) -> Any:
        """A request to the desk's API in the agent's name."""
        with httpx.Client(base_url=self.url, auth=("agent", self.password), timeout=60) as client:
            answer = client.request(method, f"/api{path}", **given)
        if not answer.is_success:
            message = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise RuntimeError(message)
        return answer.json() if answer.content else None

    def _form(self, path: str, values: Mapping[str, Any], client: httpx.Client) -> httpx.Response:
        """Fills in one of the desk's forms, as a browser does."""
        client.get(path)
        token = client.cookies.get("csrftoken", "")
        return client.post(path, data={**values, "csrfmiddlewaretoken": token}, headers={"Referer": self.url + path})

    def submit(self, subject: str, text: str, *, fields: Mapping[str, str] | None = None) -> int:
        """Submits the public form as the customer does, and gives the status of the answer."""
        values = {"queue": "1", "title": subject, "body": text, "priority": "3", "submitter_email": CUSTOMER}
        with httpx.Client(base_url=self.url, timeout=60) as client:
            more = {f"custom_{name}": value for name, value in (fields or {}).items()}
            return self._form("/tickets/submit/", values | more, client).status_code

    def new_ticket(self, subject: str, text: str, *, fields: Mapping[str, str] | None = None) -> str:
        """A ticket as the customer opens it on the public page, and its id."""
        status = self.submit(subject, text, fields=fields)
        if status not in {200, 302}:
            message = f"the form was not taken: {status}"
            raise RuntimeError(message)
        return self.newest()

    def newest(self) -> str:
        """The id of the ticket that was opened last."""
        count = self.ask("GET", "/tickets/?page_size=1")["count"]
        return str(self.ask("GET", f"/tickets/?page_size=1&page={count}")["results"][0]["id"])

    def edit(self, ticket_id: str, **fields: Any) -> None:
        """Changes fields of a ticket by the API (`title`, `custom_order_number`), which the desk tells nobody of."""
        self.ask("PATCH", f"/tickets/{ticket_id}/", json=fields)

    def update(self, ticket_id: str, text: str, *, public: bool = True, **values: Any) -> None:
        """A follow-up on the agent's page, with changes to the ticket (`title`) where they are given."""
        with self.signed_in() as client:
            held = self.ask("GET", f"/tickets/{ticket_id}/")
            given = {"comment": text, "title": held["title"], "owner": "0", "priority": str(held["priority"])}
            given |= {"queue": str(held["queue"]), "new_status": str(held["status"])} | (
                {"public": "1"} if public else {}
            )
            client.get(f"/tickets/{ticket_id}/")
            token = client.cookies.get("csrftoken", "")
            answer = client.post(
                f"/tickets/{ticket_id}/update/",
                data={**given, **values, "csrfmiddlewaretoken": token},
                headers={"Referer": self.url},
            )
        if answer.status_code not in {200, 302}:
            message = f"the update was not taken: {answer.status_code}"
            raise RuntimeError(message)

    def notes(self, ticket_id: str) -> list[dict[str, Any]]:
        """A ticket's follow-ups: id, private, body, title, files, user; the oldest first."""
        held = self.ask("GET", f"/tickets/{ticket_id}/")
        return [
            {
                "id": str(one["id"]),
                "private": not one["public"],
                "body": one["comment"] or "",
                "title": one["title"],
                "files": sorted(file["filename"] for file in one["followupattachment_set"]),
                "user": one["user"],
            }
            for one in sorted(held["followup_set"], key=lambda one: one["id"])
        ]

    @contextlib.contextmanager
    def signed_in(self) -> Any:
        """A browser in which the agent is signed in."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            self._form("/login/", {"username": "agent", "password": self.password, "next": "/tickets/"}, client)
            yield client

    def page(self, ticket_id: str) -> str:
        """A ticket's page as the agent sees it."""
        with self.signed_in() as client:
            return client.get(f"/tickets/{ticket_id}/", follow_redirects=True).text

    def public_page(self, ticket_id: str) -> str:
        """A ticket's page as the customer sees it, by the link in their mail."""
        link = next(
            re.search(r"http://\S+/view/\?\S+[^\s.]", mail["text"])
            for mail in self.mails()
            if CUSTOMER in mail["to"] and f"[support-{ticket_id}]" in mail["subject"]
        )
        assert link is not None
        with httpx.Client(base_url=self.url, timeout=60, follow_redirects=True) as client:
            return client.get(re.sub(r"^http://[^/]+", "", link[0])).text

    def mails(self) -> list[dict[str, Any]]:
        """All mail that the desk sent: to (with Cc and Bcc), subject, text."""
        found = []
        for file in sorted((self.folder / "mail").glob("*.log")):
            for one in re.split(rb"\n-{79}\n", file.read_bytes()):
                parsed = email.message_from_bytes(one.strip(), policy=email.policy.default)
                texts = [part for part in parsed.walk() if part.get_content_maintype() == "text"]
                found.append(
                    {
                        "to": [a for name in ("To", "Cc", "Bcc") for _, a in getaddresses(parsed.get_all(name, []))],
                        "subject": str(parsed["Subject"]),
                        "text": "\n".join(part.get_content() for part in texts),
                    }
                )
        return [mail for mail in found if mail["to"]]

    def _run(self, *arguments: str) -> None:
        done = run(install(), SITE / "desk.py", arguments[0], self.folder, *arguments[1:])
        if done.returncode:
            message = f"{arguments[0]} failed:\n{last_lines(done)}"
            raise RuntimeError(message)

    def add_cc(self, ticket_id: str, address: str) -> None:
        """Somebody else who gets a ticket's mail."""
        self._run("copy", ticket_id, address)

    def reply(self, ticket_id: str, text: str) -> None:
        """The customer answers by mail."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = (
            CUSTOMER,
            "support@test.example",
            f"Re: [support-{ticket_id}] Payment",
        )
        mail["Message-ID"] = make_msgid(domain="example.com")
        mail.set_content(text, cte="base64")
        (self.folder / "inbox" / "mail").write_bytes(mail.as_bytes())
        self._run("fetch")
