"""A two-gigabyte upload to a real service: how long it takes, and how much memory the server has for it.

Run as `python benchmarks/upload.py [--gigabytes 2]`. The bundle is made of log lines that are not packed, so that as many bytes go
over the wire as are said. The goal is a server that takes the bundle with less than 150 MB beyond what it had.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import _node
import httpx
import msgspec

sys.path.insert(0, str(_node.ROOT))

from tests.remote_samples import agreed, collected, large_bundle, manifest_of, memory, put, remote

MOST_MEMORY = 150 << 20


def main() -> int:
    """Prints the figures."""
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
