"""A two-gigabyte upload to a real service: how long it takes, and how much memory the server has for it.

    python -m benchmarks.upload [--gigabytes 2]

The bundle is made of log lines that are not packed, so that as many bytes go over the wire as are said. Exits 1 where the server
took more than 150 MB for it, or did not take the bundle.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
import tempfile
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec

from pipeline.remote.gather import RECEIPT, TICKET, pretty
from pipeline.remote.manifest import Manifest
from pipeline.remote.receipt import Consent, File, Receipt, Taken, consent_of, sealed

MOST_MEMORY = 150 << 20
_LOG = "logs/0001-large.log.ndjson"


def large_bundle(path: Path, manifest: Manifest, size: int) -> Consent:
    """Writes a bundle of `size` bytes that answers `manifest`; its consent."""
    consent = consent_of(manifest, "given", "benchmark", datetime.now(UTC), "en")
    lines = b"".join(
        msgspec.json.encode(
            {
                "_id": f"/var/log/large.log:{number}",
                "@timestamp": manifest.start,
                "message": f"INFO pay-gateway - order SO{number:012d} step {number * 7919 % 997} took {number % 311} ms",
                "log.file.path": "/var/log/large.log",
            }
        )
        + b"\n"
        for number in range(5000)
    )
    ticket = pretty({"id": manifest.ticket, "system": manifest.system, "title": "x", "created_at": manifest.created_at})
    rounds = size // len(lines)
    digest = hashlib.sha256()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(TICKET, ticket)
        with archive.open(_LOG, "w", force_zip64=True) as file:
            for _ in range(rounds):
                file.write(lines)
                digest.update(lines)
        receipt = Receipt(
            collection=manifest.id,
            asked_sha256=manifest.digest,
            system=manifest.system,
            ticket=manifest.ticket,
            start=manifest.start,
            end=manifest.end,
            offset=0,
            consent=consent,
            files={
                TICKET: File(bytes=len(ticket), sha256=hashlib.sha256(ticket).hexdigest()),
                _LOG: File(bytes=rounds * len(lines), sha256=digest.hexdigest()),
            },
            taken=(Taken(path="/var/log/large.log", file=_LOG, kept=rounds * 5000, outside=0, undated=0),),
            left=(),
            masked={},
        )
        archive.writestr(RECEIPT, pretty(msgspec.to_builtins(sealed(receipt, manifest.key))))
    return consent


def main() -> int:
    """Prints the figures."""
    from tests.remote_samples import remote
    from tests.test_remote import agreed, collected, manifest_of, memory, put

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=2.0)
    size = int(parser.parse_args().gigabytes * (1 << 30))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with remote(folder, f"sqlite:///{folder}/service.sqlite", options=f"max_bytes = {size + (1 << 20)}") as shop:
            assert shop.service.process is not None
            pid = shop.service.process.pid
            warm = shop.ask("T2")
            bundle = collected(shop, warm)
            put(shop, warm, bundle, agreed(shop, warm, bundle))
            told = shop.ask("T1")
            manifest = manifest_of(told)
            large = folder / "large.zip"
            consent = large_bundle(large, manifest, size)
            bearer = {"Authorization": f"Bearer {manifest.key}"}
            httpx.post(f"{manifest.upload}/consent", content=msgspec.json.encode(consent), headers=bearer)
            before, cpu, begun = memory(pid), processor(pid), time.monotonic()
            done = shop.run("bundle", "--collect", told["manifest"], "--send", large, timeout=1200)
            seconds, took = time.monotonic() - begun, memory(pid) - before
            state = shop.row(told["id"]).state
            print(f"bundle            {large.stat().st_size:,} bytes")
            print(f"sent and checked  {seconds:.1f} s, {processor(pid) - cpu:.1f} s of the server's processor time")
            print(f"server's memory   {before:,} bytes before, {took:,} more at most")
            print(f"state             {state}")
            if done.returncode:
                print(done.stderr, file=sys.stderr)
    return 0 if state == "stored" and took <= MOST_MEMORY else 1


def processor(pid: int) -> float:
    """Seconds of processor time that a process has had (`utime` and `stime` of /proc)."""
    told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    found = re.search(r"\) \S+ (?:\S+ ){10}(\d+) (\d+)", told)
    assert found is not None
    return (int(found[1]) + int(found[2])) / 100


if __name__ == "__main__":
    sys.exit(main())
