"""Redmine 5.0 from Debian's packages, as an instance of its own with its own database (SQLite), keys and files.

Nothing of a Redmine that was there before is read or written: the package runs several instances, and this one lies in a folder
outside its own. Started as root it runs as `www-data`. It has a private project `support` and four accounts: a customer,
an agent, `problem-snapshot` with the rights of docs/tickets/redmine.md, and one that lacks the right to write private notes.
Version 5.0 has no webhooks, so nothing is posted.

The address is two, with a space between them: Redmine, and the instance's folder. `Desk` takes them apart, and does what people do.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.services import Running, Unavailable, apt_get, install_packages, last_lines, processes, run
from tests.services.processes import account, answers, launched, on_free_port, process_of

NAME = "redmine"
ROOT_BECOMES = "www-data"
PACKAGES = ("redmine", "redmine-sqlite", "ruby-webrick")
HOME = Path("/usr/share/redmine")
SEED = Path(__file__).parent / "redmine_site" / "seed.rb"
PEOPLE = ("customer", "agent", "problem-snapshot", "careless")


def install() -> str:
    """Brings Redmine, and gives the program that serves it. Raises `Unavailable` where it cannot be had."""
    if not (HOME / "config.ru").exists():
        try:
            install_packages(*PACKAGES, start=False)
        except Unavailable:
            # Half configured it would stand in the way of every later installation.
            apt_get("purge", "-y", "-qq", *PACKAGES[:2])
            raise
    program = shutil.which("rackup")
    if program is None or not (HOME / "Gemfile.lock").exists():
        reason = f"{' '.join(PACKAGES)} are installed, and not configured"
        raise Unavailable(reason)
    return program


def _environment(folder: Path) -> dict[str, str]:
    # Out of the folder of instances and down to ours.
    return {
        "REDMINE_INSTANCE": "../" * 8 + str(folder).lstrip("/"),
        "REDMINE_LANG": "en",
        "RAILS_ENV": "production",
        # Where the schema is written down after it was made; else in the package.
        "SCHEMA": str(folder / "schema.rb"),
        "HOME": str(folder),
        "PROBLEM_SNAPSHOT_SEED": str(folder / "seed.json"),
    }


def _webrick() -> str:
    """The folder that the server WEBrick is loaded from."""
    done = run("ruby", "-e", "require 'webrick'; puts File.dirname($LOADED_FEATURES.grep(/webrick\\.rb$/).first)")
    if done.returncode:
        reason = "the Ruby here has no WEBrick"
        raise Unavailable(reason)
    return done.stdout.strip()


def start() -> Running:
    """A Redmine on a free port with data of its own."""
    program = install()
    user = account(ROOT_BECOMES)
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-redmine-"))
    try:
        for name in ("config", "tmp", "log", "files", "public/plugin_assets"):
            (folder / name).mkdir(parents=True)
        database = {
            "adapter": "sqlite3",
            "database": str(folder / "redmine.sqlite"),
            "timeout": 20000,
            "encoding": "utf8",
        }
        given = {
            "password": secrets.token_hex(12),
            "formatting": "common_mark",
            "keys": {name: secrets.token_hex(20) for name in PEOPLE},
        }
        for name, text in (
            ("config/database.yml", json.dumps({"production": database})),
            ("config/secret_key.txt", secrets.token_hex(48)),
            ("seed.json", json.dumps(given)),
        ):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text, encoding="utf-8")
        # Readable where the checkout is not.
        shutil.copy(SEED, folder / "seed.rb")
        if user:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, user, user)
        # One after the other, from an empty file: the schema, Redmine's trackers and states, our people.
        for command in (
            ("rake", "db:migrate"),
            ("rake", "redmine:load_default_data"),
            ("rails", "runner", folder / "seed.rb"),
        ):
            done = _in_home(folder, user, f"bin/{command[0]}", *command[1:])
            if done.returncode:
                message = f"Redmine's database cannot be made ({command[-1]}):\n{last_lines(done)}"
                raise RuntimeError(message)
        port = on_free_port(lambda port: serve(program, folder, port, user), "Redmine", folder / processes.LOG)
        return Running(NAME, f"http://127.0.0.1:{port} {folder}", str(folder))
    except BaseException:
        stop(str(folder))
        raise


def _in_home(folder: Path, user: str | None, *command: str | Path) -> subprocess.CompletedProcess[str]:
    environment = [f"{name}={value}" for name, value in _environment(folder).items()]
    return run("env", "-C", HOME, *environment, "ruby", *command, user=user)


def serve(program: str, folder: Path, port: int, user: str | None) -> bool:
    """Runs the server on the data of `folder` until it answers; false where it ends before."""
    return launched(
        [program, "--env", "production", "--host", "127.0.0.1", "--port", str(port), "config.ru"],
        folder,
        lambda: answers(f"http://127.0.0.1:{port}/login"),
        user=user,
        cwd=HOME,
        # WEBrick is beside Redmine's own gems, so Bundler would not let it be found.
        env={**_environment(folder), "RUBYLIB": _webrick()},
    )


def _pid(data: str) -> int | None:
    """The id of the server of the folder `data`, if it runs and is one."""
    return process_of(data, lambda place: f"HOME={data}".encode() in (place / "environ").read_bytes().split(b"\0"))


def alive(data: str) -> bool:
    """Whether the server of the folder `data` runs."""
    return _pid(data) is not None


def stop(data: str) -> None:
    """Stops the server of the folder `data`, and deletes the folder."""
    processes.halt(data, lambda: _pid(data), ((signal.SIGINT, 15), (signal.SIGKILL, 10)))
    shutil.rmtree(data, ignore_errors=True)


class Desk:
    """A Redmine that runs, as its customers and agents use it. `keys` are people's API keys by login."""

    def __init__(self, address: str) -> None:
        self.url, folder = address.split()
        given = json.loads((Path(folder) / "seed.json").read_text(encoding="utf-8"))
        self.keys: Mapping[str, str] = given["keys"]
        self.password: str = given["password"]

    def ask(self, method: str, path: str, *, who: str = "agent", **given: Any) -> Any:
        """A request to Redmine's API in the name of `who`."""
        headers = {"X-Redmine-API-Key": self.keys[who]}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            answer = client.request(method, path, **given)
        if not answer.is_success:
            message = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise RuntimeError(message)
        return answer.json() if answer.content.strip() else None

    def new_ticket(self, subject: str, text: str, *, fields: Mapping[str, str] | None = None) -> str:
        """A ticket as the customer opens it, and its id."""
        issue: dict[str, Any] = {"project_id": "support", "subject": subject, "description": text}
        if fields:
            issue["custom_fields"] = [{"id": self.field(name), "value": value} for name, value in fields.items()]
        return str(self.ask("POST", "/issues.json", who="customer", json={"issue": issue})["issue"]["id"])

    def field(self, name: str) -> int:
        """A custom field's number."""
        return {"Fault class": 1, "Order number": 2}[name]

    def edit(self, ticket_id: str, **fields: Any) -> None:
        """Changes fields of a ticket (`subject`, `status_id`) as an agent does."""
        self.ask("PUT", f"/issues/{ticket_id}.json", json={"issue": fields})

    def reply(self, ticket_id: str, text: str, *, who: str = "customer") -> None:
        """A public note."""
        self.ask("PUT", f"/issues/{ticket_id}.json", who=who, json={"issue": {"notes": text}})

    def comment(self, ticket_id: str, text: str) -> None:
        """An agent's private note."""
        self.ask("PUT", f"/issues/{ticket_id}.json", json={"issue": {"notes": text, "private_notes": True}})

    def notes(self, ticket_id: str, *, who: str = "agent") -> list[dict[str, Any]]:
        """A ticket's notes as `who` sees them: id, private, body, user, files (none); the oldest first."""
        held = self.ask("GET", f"/issues/{ticket_id}.json?include=journals,attachments", who=who)["issue"]
        return [
            {
                "id": str(one["id"]),
                "private": one["private_notes"],
                "body": one["notes"],
                "user": one["user"]["name"],
                "files": [file["filename"] for file in held["attachments"]],
            }
            for one in held["journals"]
            if one["notes"]
        ]

    def page(self, ticket_id: str, *, who: str) -> str:
        """A ticket's page as `who` sees it."""
        with httpx.Client(base_url=self.url, timeout=60, follow_redirects=True) as client:
            form = client.get("/login").text
            token = form.partition('name="authenticity_token" value="')[2].partition('"')[0]
            client.post("/login", data={"username": who, "password": self.password, "authenticity_token": token})
            return client.get(f"/issues/{ticket_id}").text
