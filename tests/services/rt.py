"""Request Tracker 5 from Debian's packages, with a configuration, a database (SQLite) and caches of its own.

Nothing of a Request Tracker that was there before is read or written: RT takes its configuration from the folder that the
environment names, and that names all the rest. Started as root it runs as `www-data`. It has a queue `Support` in which customers
may open tickets, three accounts (`root`, `agent` who is AdminCc of the queue, and `problem-snapshot` with the rights of
docs/tickets/rt.md and no more), the scrips of `pipeline/tickets/rt_scrips.pl`, and mail that goes to a file.

The address is five, with a space between them: RT with root's password, our account's token, where the scrip posts to, the
secret it signs with, and RT's folder. `Desk` takes them apart, and does what customers and agents do.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import mailbox
import os
import secrets
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.utils import getaddresses
from pathlib import Path
from typing import Any

import httpx

from tests.services import Running, free_port, install_packages, last_lines, processes, run
from tests.services.processes import account, answers, launched, on_free_port, process_of

NAME = "rt"
ROOT_BECOMES = "www-data"
SCRIPS = Path(__file__).resolve().parents[2] / "pipeline" / "tickets" / "rt_scrips.pl"
PACKAGES = ("request-tracker5", "rt5-db-sqlite", "rt5-standalone")
USER, QUEUE, CUSTOMER, AGENT = "problem-snapshot", "Support", "customer@example.com", "agent@example.com"

# Read as RT_SITE_CONFIG: Perl, in which the places that RT keeps things in are plain variables.
_CONFIG = """\
$RT::VarPath = '{folder}';
$RT::MasonDataDir = '{folder}/mason';
$RT::MasonSessionDir = '{folder}/sessions';
$RT::LocalPath = '{folder}/local';
Set($rtname, 'test');
Set($Organization, 'test.example');
Set($Timezone, 'UTC');
Set($WebDomain, '127.0.0.1');
Set($WebPort, {port});
Set($WebPath, '');
Set($WebBaseURL, 'http://127.0.0.1:{port}');
Set($DatabaseType, 'SQLite');
Set($DatabaseName, '{folder}/rt.sqlite');
Set($CorrespondAddress, 'support@test.example');
Set($CommentAddress, 'support-comment@test.example');
Set($MailCommand, 'mbox');
Set($LogToSyslog, undef);
Set($LogToSTDERR, 'info');
Set($LogToFile, undef);
Set($ProblemSnapshotUrl, '{hook}');
Set($ProblemSnapshotSecretFile, '{folder}/hook.secret');
1;
"""

_LIBRARY = "/usr/share/request-tracker5/lib"
_SCRIPS_NAMED = (
    "my $found = RT::Scrips->new(RT->SystemUser); $found->FindAllRows;"
    "$found->Limit(FIELD => 'Description', OPERATOR => 'STARTSWITH', VALUE => '%s');"
)

# People and rights, as an administrator sets them up by hand after docs/tickets/rt.md.
_PEOPLE = """\
@Users = (
    { Name => 'problem-snapshot', RealName => 'problem-snapshot', Privileged => 1, EmailAddress => 'snapshots@test.example' },
    { Name => 'agent', RealName => 'An agent', Privileged => 1, EmailAddress => 'agent@example.com', Password => '@PASSWORD@' },
    { Name => 'customer@example.com', EmailAddress => 'customer@example.com', Privileged => 0, Password => '@PASSWORD@' },
);
@Queues = ( { Name => 'Support', Description => 'Payments', CorrespondAddress => '', CommentAddress => '' } );
@CustomFields = (
    { Name => 'Fault class', Type => 'FreeformSingle', LookupType => 'RT::Queue-RT::Ticket', Queue => ['Support'] },
    { Name => 'Order number', Type => 'FreeformSingle', LookupType => 'RT::Queue-RT::Ticket', Queue => ['Support'] },
);
@ACL = (
    ( map { { GroupDomain => 'SystemInternal', GroupType => 'Everyone', Queue => 'Support', Right => $_ } }
        qw(CreateTicket ReplyToTicket SeeQueue) ),
    ( map { { GroupDomain => 'RT::Queue-Role', GroupType => 'Requestor', Queue => 'Support', Right => $_ } } qw(ShowTicket) ),
    ( map { { UserId => 'problem-snapshot', Queue => 'Support', Right => $_ } }
        qw(SeeQueue ShowTicket ShowTicketComments CommentOnTicket SeeCustomField ModifyCustomField) ),
    ( map { { UserId => 'agent', Queue => 'Support', Right => $_ } }
        qw(SeeQueue ShowTicket ShowTicketComments CommentOnTicket ReplyToTicket ModifyTicket OwnTicket Watch WatchAsAdminCc
        SeeCustomField ModifyCustomField DeleteTicket) ),
);
@Final = ( sub {
    my $queue = RT::Queue->new( RT->SystemUser );
    $queue->Load('Support');
    $queue->AddWatcher( Type => 'AdminCc', Email => 'agent@example.com' );
    my $everybody = RT::Group->new( RT->SystemUser );
    $everybody->LoadSystemInternalGroup('Unprivileged');
    $everybody->PrincipalObj->GrantRight( Right => 'SelfService', Object => RT->System );
    my $user = RT::User->new( RT->SystemUser );
    $user->Load('problem-snapshot');
    my $token = RT::AuthToken->new( RT->SystemUser );
    my ( $id, $why, $text ) = $token->Create( Owner => $user->id, Description => 'tests' );
    die $why unless $id;
    open( my $file, '>', '@FOLDER@/token' ) or die $!;
    print {$file} $text;
    close $file;
} );
1;
"""


def _user() -> str | None:
    return account(ROOT_BECOMES)


def _programs() -> tuple[str, str] | None:
    """The server, and the program that fills a database."""
    folders = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/usr/share/request-tracker5/libexec"
    found = [shutil.which(name, path=folders) for name in ("rt-server", "rt-setup-database-5")]
    return (found[0], found[1]) if found[0] and found[1] else None


def install() -> tuple[str, str]:
    """Brings RT, and gives its programs. Raises `Unavailable` where it cannot be had."""
    if _programs() is None:
        install_packages(*PACKAGES, start=False)
    programs = _programs()
    if programs is None:
        message = f"{' '.join(PACKAGES)} are installed, and rt-server is not where Debian puts it"
        raise RuntimeError(message)
    return programs


def start() -> Running:
    """An RT on a free port with data of its own."""
    server, setup = install()
    user = _user()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-rt-"))
    try:
        for name in ("mason", "sessions", "local", "config.d"):
            (folder / name).mkdir()
        password, secret, hook = (
            secrets.token_hex(12),
            secrets.token_hex(24),
            f"http://127.0.0.1:{free_port()}/hooks/rt",
        )
        for name, text in (
            ("password", password),
            ("hook.secret", secret + "\n"),
            ("token", ""),
            ("people.pl", _PEOPLE.replace("@PASSWORD@", password).replace("@FOLDER@", str(folder))),
        ):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text, encoding="utf-8")
        if user:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user, user)
        _configure(folder, free_port(), hook)
        _fill(setup, folder, user)

        def try_port(port: int) -> bool:
            _configure(folder, port, hook)
            return serve(server, folder, port, user)

        port = on_free_port(try_port, "Request Tracker", folder / processes.LOG)
        token = (folder / "token").read_text(encoding="ascii")
        address = (f"http://root:{password}@127.0.0.1:{port}", token, hook, secret, str(folder))
        return Running(NAME, " ".join(address), str(folder))
    except BaseException:
        stop(str(folder))
        raise


def _configure(folder: Path, port: int, hook: str) -> None:
    (folder / "RT_SiteConfig.pm").write_text(_CONFIG.format(folder=folder, port=port, hook=hook), encoding="utf-8")


def _environment(folder: Path) -> dict[str, str]:
    return {
        "RT_SITE_CONFIG": f"{folder}/RT_SiteConfig.pm",
        "RT_SITE_CONFIG_DIR": f"{folder}/config.d",
        "HOME": str(folder),
    }


def _fill(setup: str, folder: Path, user: str | None) -> None:
    """Makes the database: RT's own content, our people, and the scrips that are shipped."""
    environment = [f"{name}={value}" for name, value in _environment(folder).items()]
    own = ("--skip-create", "--action", "insert", "--datafile")
    for arguments in (
        ("--action", "init", "--force", "--dba-password", "", "--root-password-file", folder / "password"),
        (*own, folder / "people.pl"),
        (*own, SCRIPS),
    ):
        done = run("env", *environment, setup, *arguments, user=user)
        if done.returncode:
            message = f"Request Tracker's database cannot be made ({arguments[-1]}):\n{last_lines(done)}"
            raise RuntimeError(message)


def serve(server: str, folder: Path, port: int, user: str | None) -> bool:
    """Runs the server on the data of `folder` until it answers; false where it ends before."""

    def ready() -> bool:
        # The first page wakes its workers; the API answers with a refusal.
        answers(f"http://127.0.0.1:{port}/NoAuth/rich_text", 5)
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/REST/2.0/rt", timeout=30).close()
            except urllib.error.HTTPError as error:
                return error.code == 401
        return False

    command: list[str | Path] = [server, "--host", "127.0.0.1", "--port", str(port), "--max-workers", "3"]
    return launched(command, folder, ready, user=user, env=_environment(folder))


def _pid(data: str) -> int | None:
    """The id of the server of the folder `data`, if it runs and is one."""
    return process_of(data, lambda place: (place / "cwd").resolve() == Path(data).resolve())


def alive(data: str) -> bool:
    """Whether the server of the folder `data` runs."""
    return _pid(data) is not None


def stop(data: str) -> None:
    """Stops the server of the folder `data` and its workers, and deletes the folder."""
    processes.halt(data, lambda: _pid(data), ((signal.SIGTERM, 20), (signal.SIGKILL, 10)), group=True)
    shutil.rmtree(data, ignore_errors=True)


def log(data: str) -> str:
    """What the server of the folder `data` wrote."""
    file = Path(data) / "server.log"
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""


class Desk:
    """An RT that runs, as its customers and agents use it.

    `url` and `token` are for our own account. The scrip posts to `hook`, also while nobody listens there, and signs with
    `secret`. One at a time can listen.
    """

    def __init__(self, address: str) -> None:
        root, self.token, self.hook, self.secret, folder = address.split()
        self.folder = Path(folder)
        self._login, _, host = root.removeprefix("http://").rpartition("@")
        self.url = f"http://{host}"
        self.password = self._login.partition(":")[2]

    def ask(self, method: str, path: str, *, who: str = "root", **given: Any) -> Any:
        """A request to RT's REST API in the name of `who`: root, agent or the customer."""
        with httpx.Client(base_url=self.url, auth=(who, self.password), timeout=60) as client:
            answer = client.request(method, f"/REST/2.0{path}", **given)
        if not answer.is_success:
            message = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise RuntimeError(message)
        return answer.json() if answer.content else None

    def new_ticket(self, subject: str, text: str, *, fields: Mapping[str, str] | None = None) -> str:
        """A ticket as the customer opens it, and its id."""
        given = {
            "Queue": QUEUE,
            "Subject": subject,
            "Content": text,
            "ContentType": "text/plain",
            "Requestor": CUSTOMER,
        }
        more = {"CustomFields": dict(fields)} if fields else {}
        return str(self.ask("POST", "/ticket", who="root" if fields else CUSTOMER, json=given | more)["id"])

    def edit(self, ticket_id: str, **fields: Any) -> None:
        """Changes fields of a ticket (`Subject`, `Status`, `CustomFields`) as an agent does."""
        self.ask("PUT", f"/ticket/{ticket_id}", who="agent", json=fields)

    def reply(self, ticket_id: str, text: str, *, who: str = CUSTOMER) -> None:
        """A public reply, the customer's unless told otherwise."""
        given = {"Content": text, "ContentType": "text/plain"}
        self.ask("POST", f"/ticket/{ticket_id}/correspond", who=who, json=given)

    def comment(self, ticket_id: str, text: str, *, who: str = "agent", kind: str = "text/plain") -> None:
        """An agent's private comment."""
        self.ask("POST", f"/ticket/{ticket_id}/comment", who=who, json={"Content": text, "ContentType": kind})

    def notes(self, ticket_id: str, *, who: str = "root") -> list[dict[str, Any]]:
        """What `who` sees of replies and comments: id, private, body (all text parts), files, creator; the oldest first."""
        found = []
        history = self.ask("GET", f"/ticket/{ticket_id}/history?fields=Type,Creator&per_page=100", who=who)
        for row in history["items"]:
            if row["Type"] not in {"Comment", "Correspond", "Create"}:
                continue
            listed = self.ask(
                "GET",
                f"/transaction/{row['id']}/attachments?fields=ContentType,Filename,Content,Headers&per_page=100",
                who=who,
            )
            texts = [p for p in listed["items"] if p["ContentType"].startswith("text/") and not p.get("Filename")]
            found.append(
                {
                    "id": str(row["id"]),
                    "private": row["Type"] == "Comment",
                    "creator": row["Creator"]["id"],
                    "body": "".join(p["Content"] or "" for p in texts),
                    "files": sorted(p["Filename"] for p in listed["items"] if p.get("Filename")),
                }
            )
        return sorted(found, key=lambda note: int(note["id"]))

    def page(self, path: str, *, who: str) -> str:
        """One of RT's pages as `who` sees it in a browser."""
        with httpx.Client(base_url=self.url, timeout=60, follow_redirects=True) as client:
            client.post("/NoAuth/Login.html", data={"user": who, "pass": self.password}, headers={"Referer": self.url})
            answer = client.get(path, headers={"Referer": self.url})
        if not answer.is_success:
            message = f"{path}: {answer.status_code}"
            raise RuntimeError(message)
        return answer.text

    def mails(self) -> list[dict[str, Any]]:
        """All mail that RT sent: to (with Cc and Bcc), subject, text."""
        found = []
        for file in sorted(self.folder.glob("*.mbox")):
            with contextlib.closing(mailbox.mbox(file, create=False)) as box:
                mails = [mail.as_bytes() for mail in box]
            for mail in mails:
                parsed = email.message_from_bytes(mail, policy=email.policy.default)
                texts = [part for part in parsed.walk() if part.get_content_maintype() == "text"]
                found.append(
                    {
                        "to": [a for name in ("To", "Cc", "Bcc") for _, a in getaddresses(parsed.get_all(name, []))],
                        "subject": str(parsed["Subject"]),
                        "text": "\n".join(part.get_content() for part in texts),
                    }
                )
        return found

    def perl(self, code: str) -> str:
        """What a few lines of Perl inside RT print."""
        environment = [f"{name}={value}" for name, value in _environment(self.folder).items()]
        start = "RT->LoadConfig; RT->Init;"
        done = run("env", *environment, "perl", f"-I{_LIBRARY}", "-MRT", "-e", f"{start} {code}", user=_user())
        if done.returncode:
            message = f"RT's Perl failed:\n{last_lines(done)}"
            raise RuntimeError(message)
        return done.stdout

    def scrips(self, start: str) -> int:
        """How many scrips have a description that begins so."""
        return int(self.perl(_SCRIPS_NAMED % start + "print $found->Count;"))

    def switch_scrips(self, start: str, *, on: bool) -> None:
        """Enables or disables those scrips."""
        self.perl(_SCRIPS_NAMED % start + f"while (my $s = $found->Next) {{ $s->SetDisabled({int(not on)}) }}")

    def insert_scrips(self) -> None:
        """Puts the scrips that are shipped in again, as after an upgrade."""
        setup = install()[1]
        environment = [f"{name}={value}" for name, value in _environment(self.folder).items()]
        done = run(
            *("env", *environment, setup, "--skip-create", "--action", "insert", "--datafile", SCRIPS), user=_user()
        )
        if done.returncode:
            message = f"the scrips cannot be put in again:\n{last_lines(done)}"
            raise RuntimeError(message)
