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
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.desk.intake_options import QuestionOptions
from pipeline.desk.options import DeskOptions
from pipeline.service.tables import workers
from snapshots.model import Questionnaire, with_id
from tests.intake_samples import SECRET
from tests.snapshots_samples import SAMPLES
from tests.test_questions import sample
from tests.test_service import Hook, running


@pytest.fixture(scope="module")
def door(tmp_path_factory) -> Iterator[Hook]:
    """A service without a worker."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    options = DeskOptions(questions=QuestionOptions(folder=str(folder / "pictures")))
    with running(
        f"sqlite:///{folder}/service.sqlite",
        folder,
        work=False,
        desk_options=options,
        public_url="http://desk.invalid",
        secret=SECRET,
    ) as found:
        yield found


def test_whatever_is_posted_to_questions_the_answer_is_one_that_is_described(door):
    """By somebody whose link holds."""
    base = with_id(msgspec.structs.replace(SAMPLES["wechat_signature"], questions=sample()))
    assert isinstance(base.questions, Questionnaire)
    door.bench.store.put(base)
    link = httpx.URL(door.bench.asking.links.questions("desk", base.ticket.id, base.snapshot_id))
    schema = schemathesis.openapi.from_dict(httpx.get(f"{door.url}/openapi.json").json())
    schema.config.update(base_url=door.url)
    seen: Counter[int] = Counter()
    for found in schema.include(path_regex="^/intake/.snapshot_id").get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy())
        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        def answered(case):
            case.path_parameters = {"snapshot_id": base.snapshot_id}
            case.query = {**dict(case.query or {}), "key": link.params["key"]}
            answer = case.call()
            # What is asked differs by ticket: the ticket's own schema says which answers are good.
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])
            assert answer.status_code < 500
            seen[answer.status_code] += 1

        answered()
    assert seen[200] > 20
    assert seen[422] + seen[400] + seen[415] > 5


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
