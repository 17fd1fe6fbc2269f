"""Jaeger, built from its Go module and kept by version, with everything in memory and a configuration of its own.

The address is two: of the query service, and of the OTLP receiver to which tests send spans, with a space between them.
Version 1.76 of the module is the one that has Jaeger 2's program, the last under a version that Go's modules know.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.services import Running, Unavailable, free_port, golang, run
from tests.services.processes import end, end_of, named, process_of

NAME = "jaeger"
MODULE, VERSION = "github.com/jaegertracing/jaeger", "v1.76.0"
KEPT = Path(__file__).parent / "jaeger-target" / VERSION
# Three minutes on two cores with nothing in Go's caches.
BUILD_SECONDS = 420
CONFIGURATION = """\
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry:
    metrics: {{level: none}}
    logs: {{level: warn}}
extensions:
  jaeger_query:
    storage: {{traces: main}}
    http: {{endpoint: "127.0.0.1:{query}"}}
    grpc: {{endpoint: "127.0.0.1:{grpc}"}}
  jaeger_storage:
    backends:
      main: {{memory: {{max_traces: 100000}}}}
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{otlp}"}}
exporters:
  jaeger_storage_exporter: {{trace_storage: main}}
"""


def install() -> Path:
    """Brings Go and builds Jaeger, and gives its program. Raises `Unavailable` where that cannot be done."""
    program = KEPT / "jaeger"
    if program.exists():
        return program
    if platform.system() != "Linux":
        reason = "it is built on Linux only"
        raise Unavailable(reason)
    return golang.built(MODULE, "cmd/jaeger", VERSION, program, BUILD_SECONDS)


def start() -> Running:
    """A Jaeger on free ports with nothing in it. Built before, or now where services are required."""
    if not (KEPT / "jaeger").exists() and os.environ.get("REQUIRE_SERVICES") != "1":
        # A test session is not to take four minutes longer unasked.
        reason = "not built yet; `make services-install` builds it in about four minutes"
        raise Unavailable(reason)
    program = install()
    folder = Path(tempfile.mkdtemp(prefix="problem-snapshot-jaeger-"))
    log = folder / "jaeger.log"
    try:
        # Between the choice of a port and its use another program may take it.
        for _ in range(3):
            ports = {name: free_port() for name in ("query", "grpc", "otlp")}
            (folder / "config.yaml").write_text(CONFIGURATION.format(**ports), encoding="utf-8")
            # By a shell that does not wait for it, so that it outlives whoever starts it. It traces itself otherwise.
            started = run(
                *("env", "OTEL_TRACES_SAMPLER=always_off", "sh", "-c", '"$1" --config "$2" > "$3" 2>&1 & echo $!'),
                *("sh", program, folder / "config.yaml", log),
            )
            (folder / "pid").write_text(started.stdout.strip(), encoding="ascii")
            query, otlp = (f"http://127.0.0.1:{ports[name]}" for name in ("query", "otlp"))
            if _answers(f"{query}/api/services", str(folder)):
                return Running(NAME, f"{query} {otlp}", str(folder))
        message = f"Jaeger does not start:\n{end_of(log)}"
        raise RuntimeError(message)
    except BaseException:
        stop(str(folder))
        raise


def _answers(url: str, data: str) -> bool:
    for attempt in range(600):
        # Right after its start the shell may still stand in its place.
        if attempt > 20 and _pid(data) is None:
            return False
        with suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return True
        time.sleep(0.1)
    return False


def _pid(data: str) -> int | None:
    """The process of the folder `data`, if it is still this Jaeger."""
    return process_of(data, named(str(Path(data) / "config.yaml")), "pid")


def alive(data: str) -> bool:
    """Whether the Jaeger of the folder `data` runs."""
    return _pid(data) is not None


def stop(data: str) -> None:
    """Stops the Jaeger of the folder `data`, and deletes the folder."""
    end(lambda: _pid(data), ((signal.SIGTERM, 10), (signal.SIGKILL, 5)))
    shutil.rmtree(data, ignore_errors=True)
