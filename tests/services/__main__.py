"""`python -m tests.services install|up|down|status`: the test services for use by hand."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from tests import services
from tests.services import (
    chromium,
    elasticsearch_node,
    helpdesk,
    jaeger,
    mariadb,
    nginx,
    postgresql,
    prism,
    redmine,
    rt,
    spark,
)

ALL = (elasticsearch_node, postgresql, mariadb, jaeger, rt, helpdesk, redmine, prism)


def install() -> int:
    """All at once: some download, some build, and apt-get does one thing after the other."""
    missing = 0
    # What nginx and Chromium do is up to the test that starts them, and Spark's two workers would idle in a gigabyte each.
    wanted = (*ALL, nginx, spark, chromium)
    with ThreadPoolExecutor(len(wanted)) as threads:
        for service, done in [(service, threads.submit(service.install)) for service in wanted]:
            try:
                done.result()
                print(f"{service.NAME}: ready to start", flush=True)
            except services.Unavailable as reason:
                missing += service.NAME not in services.OPTIONAL
                print(f"{service.NAME}: {reason}", file=sys.stderr)
    return 1 if missing and os.environ.get("REQUIRE_SERVICES") == "1" else 0


def up() -> int:
    started = 0
    for service in ALL:
        try:
            running = services.by_hand(service)
            if running is None:
                running = service.start()
                services.remember(running)
            started += 1
            print(f"{service.NAME}: {running.url}")
        except services.Unavailable as reason:
            print(f"{service.NAME}: {reason}", file=sys.stderr)
    return 0 if started else 1


def down(*, quiet: bool) -> int:
    for service in ALL:
        running = services.remembered(service.NAME)
        if running is not None:
            service.stop(running.data)
            services.forget(service.NAME)
        if not quiet:
            print(f"{service.NAME}: {'stopped' if running else 'was not running'}")
    return 0


def status() -> int:
    for service in ALL:
        running = services.by_hand(service)
        print(f"{service.NAME}: {running.url if running else 'not running'}")
    return 0


def main(arguments: list[str]) -> int:
    """What is asked for; 2 when that is not clear."""
    match arguments:
        case ["install"]:
            return install()
        case ["up"]:
            return up()
        case ["down", *rest]:
            return down(quiet="--quiet" in rest)
        case ["status"]:
            return status()
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
