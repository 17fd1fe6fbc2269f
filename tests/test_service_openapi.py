"""The service's own description of its addresses, and whatever that description lets one send.

schemathesis (https://schemathesis.readthedocs.io) makes the requests: well-formed ones and others.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from pipeline.service.tables import workers
from tests.test_service import Hook, running

# An upload's bytes are sent as any other bytes.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@pytest.fixture(scope="module")
def door(tmp_path_factory) -> Iterator[Hook]:
    """A service without a worker."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    with running(f"sqlite:///{folder}/service.sqlite", folder, work=False) as found:
        yield found


def test_whatever_is_sent_the_answer_is_one_that_is_described(door):
    # Somebody works, for as long as this takes.
    with door.ledger._engine.begin() as connection:
        connection.execute(workers.insert().values(id="w", executor="w", seen_at=time.time() + 3600))
    schema = schemathesis.openapi.from_dict(httpx.get(f"{door.url}/openapi.json").json())
    schema.config.update(base_url=door.url)
    seen: Counter[int] = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
            def answered(case):
                answer = case.call()
                case.validate_response(answer)
                assert answer.status_code < 500
                seen[answer.status_code] += 1

            with contextlib.suppress(Unsatisfiable):  # an address without parameters lets nothing wrong be sent
                answered()
    assert seen[200] > 0
    assert seen[401] + seen[404] > 20
