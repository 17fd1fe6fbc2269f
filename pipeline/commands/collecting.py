"""`bundle --collect`: what a desk asks for, collected on this machine with its owner's consent, and sent.

It stands in `bundle`, and not in a command of its own, since what comes out is a bundle: whoever knows the one knows the other.
Nothing of the service, of sources or of settings is loaded.
"""

from __future__ import annotations

import getpass
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pipeline.commands.codes import PARTIAL
from pipeline.commands.options import PATH, gathered
from pipeline.console import Meter, Progress, say, write_file
from pipeline.errors import NotUploaded, Refused, SnapshotError, UsageError

if TYPE_CHECKING:
    from pipeline.remote.manifest import Manifest
    from pipeline.remote.receipt import Consent, Receipt
    from pipeline.remote.sending import Desk
    from snapshots.words import Language


@dataclass(frozen=True)
class Collecting:
    """The options of `bundle --collect`."""

    collect: str | None
    consent: str | None
    refuse: bool
    desk_key: str | None
    send: Path | None
    no_upload: bool
    language: str

    def __post_init__(self) -> None:
        """Refuses options that have no meaning together."""
        if self.collect is None:
            given = {
                "--consent": self.consent, "--refuse": self.refuse, "--desk-key": self.desk_key, "--send": self.send,
                "--no-upload": self.no_upload,
            }  # fmt: skip
            lonely = next((name for name, value in given.items() if value), None)
            if lonely:
                raise UsageError(f"{lonely} belongs to --collect MANIFEST")
        if self.refuse and (self.consent or self.send):
            raise UsageError("--refuse excludes --consent and --send")
        if self.send and self.no_upload:
            raise UsageError("--send and --no-upload exclude each other")


collect_options = gathered(
    "collecting",
    Collecting,
    click.option(
        "--collect",
        metavar="MANIFEST",
        help="Collect here what a desk asks for in this manifest: a file or its link. It asks for consent first.",
    ),
    click.option("--consent", metavar="NAME", help="Agree in this name, without being asked (--collect)."),
    click.option("--refuse", is_flag=True, help="Refuse; nothing is read, and the desk is told (--collect)."),
    click.option("--desk-key", metavar="KEY", help="The key that must have signed the manifest (--collect)."),
    click.option(
        "--send", type=PATH, metavar="FILE", help="Send what was collected before, or the rest of it (--collect)."
    ),
    click.option(
        "--no-upload", is_flag=True, help="Only write the bundle, to look at it before it is sent (--collect)."
    ),
    click.option(
        "--language",
        "-l",
        type=click.Choice(["auto", "en", "zh"]),
        default="auto",
        envvar="PROBLEM_SNAPSHOT_LANGUAGE",
        help="Of --collect; auto is the ticket's.",
    ),
)


def collect(collecting: Collecting, out: Path | None) -> int:
    """Does what `--collect` says; the exit code. Raises `UsageError`, `Refused`, `NotUploaded` or `DeskUnreachable`."""
    from pipeline.remote.files import choose
    from pipeline.remote.gather import gather, offset_at
    from pipeline.remote.sending import Desk
    from pipeline.remote.words import asked_lines, nothing_lines, offset_text, taken_lines
    from snapshots.words import language_for

    manifest = _manifest(collecting)
    language = language_for(manifest.language, collecting.language)
    desk = Desk(manifest, language)
    if collecting.send is not None:
        return _send(desk, collecting.send, _consent_of(collecting.send), language)
    start, _ = manifest.span
    chosen, left = choose(manifest.paths, start, manifest.max_files)
    east = offset_at(start)
    say("\n".join(asked_lines(manifest, chosen, left, offset_text(east), language)))
    target = out or Path(f"collected-{manifest.id}.zip")
    consent = _decided(collecting, manifest, language)
    _keep(consent, target, language)
    if not collecting.no_upload or consent.decision == "refused":
        _tell(desk, consent, language)
    if consent.decision == "refused":
        say("已拒绝：未读取任何内容。" if language == "zh" else "Refused: nothing was read.")
        return 0
    with Progress(verbose=False) as progress:
        receipt = gather(manifest, chosen, left, consent, target, offset=east, progress=progress)
    say("\n".join(["", *taken_lines(receipt, language)]))
    if not receipt.records:
        # A link takes one bundle: it stays good for one that holds something.
        target.unlink()
        raise NotUploaded("\n".join(nothing_lines(receipt, language)))
    say(f"{'已写入' if language == 'zh' else 'Written'}: {target}")
    done = 0 if collecting.no_upload else _send(desk, target, None, language)
    return done or _part(receipt)


def _manifest(collecting: Collecting) -> Manifest:
    """The manifest, once it is certain that the desk which takes the logs has signed it, and still takes them."""
    from datetime import UTC, datetime

    from pipeline.remote.manifest import MAX_BYTES, open_manifest
    from pipeline.remote.sending import Desk, fetch_manifest

    ref = str(collecting.collect)
    if ref.startswith(("https://", "http://")):
        name, data = "the manifest of this link", fetch_manifest(ref)
    else:
        name = ref
        try:
            with Path(ref).open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{ref}: cannot be read: {error.strerror}") from error
    opened = open_manifest(data, name, key=collecting.desk_key)
    manifest = opened.manifest
    if manifest.expired(datetime.now(UTC)):
        raise Refused(f"{name}: was good until {manifest.expires_at}; nothing was read. Ask for a new one")
    if collecting.no_upload and not collecting.desk_key:
        raise UsageError(
            "--no-upload asks nobody: give --desk-key KEY, by which the manifest is known to be the desk's"
        )
    if not collecting.no_upload:
        signs = Desk(manifest, manifest.language).key()
        if signs != opened.key:
            raise Refused(
                f"{name}: is signed by {opened.key}, and the desk signs with {signs or 'none'}; nothing was read"
            )
    return manifest


def _decided(collecting: Collecting, manifest: Manifest, language: Language) -> Consent:
    """What the owner of this machine says, by option or when asked."""
    from datetime import UTC, datetime

    from pipeline.remote.receipt import consent_of

    zh = language == "zh"
    decision: Literal["given", "refused"] = "refused" if collecting.refuse else "given"
    who = collecting.consent or ""
    if not who and not collecting.refuse:
        if sys.stdin is None or not sys.stdin.isatty():
            raise UsageError("nobody can be asked here: give --consent NAME to agree, or --refuse; nothing was read")
        who = click.prompt("您的姓名" if zh else "Your name", err=True, type=str).strip()
        agreed = click.confirm("您同意吗" if zh else "Do you agree", default=False, err=True)
        decision = "given" if agreed else "refused"
    return consent_of(manifest, decision, (who or _user())[:200], datetime.now(UTC), language)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _keep(consent: Consent, target: Path, language: Language) -> None:
    """Writes the decision down beside the bundle: the owner's own record of it."""
    import msgspec

    record = target.with_suffix(".consent.json")
    write_file(record, msgspec.json.format(msgspec.json.encode(consent), indent=1).decode() + "\n")
    say(f"{'已记录' if language == 'zh' else 'Recorded'}: {record}")


def _tell(desk: Desk, consent: Consent, language: Language) -> None:
    """Tells the desk; a refusal holds also where the desk does not hear of it."""
    try:
        desk.decide(consent)
    except SnapshotError as error:
        if consent.decision == "given":
            raise
        say(f"{'未能告知客服端' if language == 'zh' else 'The desk was not told'}: {error}")


def _send(desk: Desk, bundle: Path, consent: Consent | None, language: Language) -> int:
    if consent is not None:
        desk.decide(consent)
    try:
        with Meter("MiB") as meter:
            answer = desk.send(bundle, lambda done, of: meter(done >> 20, of >> 20, 0))
    except SnapshotError as error:
        if not isinstance(error, Refused):
            say(
                f"{bundle} 已保留，请稍后用同一 --collect 加上 --send {bundle} 上传"
                if language == "zh"
                else f"{bundle} is kept. Send it later with the same --collect and --send {bundle}"
            )
        raise
    if answer.masked:
        told = ", ".join(f"{kind} {count:,}" for kind, count in answer.masked.items())
        say(f"{'客服端又脱敏了' if language == 'zh' else 'The desk masked'}: {told}")
    say("已上传，工单将重新诊断。" if language == "zh" else "Sent. The ticket is diagnosed again with it.")
    return 0


def _consent_of(bundle: Path) -> Consent:
    """The consent that a bundle which was collected before rests on."""
    import zipfile

    import msgspec

    from pipeline.remote.gather import RECEIPT
    from pipeline.remote.receipt import Receipt

    try:
        with zipfile.ZipFile(bundle) as archive:
            return msgspec.json.decode(archive.read(RECEIPT), type=Receipt).consent
    except (OSError, KeyError, zipfile.BadZipFile, msgspec.MsgspecError) as error:
        raise UsageError(f"{bundle}: is no bundle that was collected with --collect ({error})") from error


def _part(receipt: Receipt) -> int:
    return PARTIAL if any(one.broke or one.cut for one in receipt.taken) else 0
