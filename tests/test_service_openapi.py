"""The service's own description of its addresses, and whatever that description lets one send.

schemathesis (https://schemathesis.readthedocs.io) makes the requests: well-formed ones and others.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
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
from tests.test_desk_api import TOKEN, furnished
from tests.test_questions import sample
from tests.test_service import Hook, running

# An upload's bytes are sent as any other bytes.
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


@pytest.fixture(scope="module")
def door(tmp_path_factory) -> Iterator[Hook]:
    """A service without a worker, with a desk that has some of everything."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    with furnished(f"sqlite:///{folder}/service.sqlite", folder) as found:
        yield found


@pytest.fixture(scope="module")
def asking(tmp_path_factory) -> Iterator[Hook]:
    """A service without a worker that asks customers questions."""
    folder: Path = tmp_path_factory.mktemp("asking")
    options = DeskOptions(questions=QuestionOptions(folder=str(folder / "pictures")))
    with running(
        f"sqlite:///{folder}/service.sqlite",
        folder,
        work=False,
        office=options,
        public_url="http://desk.invalid",
        secret=SECRET,
    ) as found:
        yield found


def test_whatever_is_posted_to_questions_the_answer_is_one_that_is_described(asking):
    """By somebody whose link holds."""
    base = with_id(msgspec.structs.replace(SAMPLES["wechat_signature"], questions=sample()))
    assert isinstance(base.questions, Questionnaire)
    asking.bench.store.put(base)
    link = httpx.URL(asking.bench.asking.links.questions("desk", base.ticket.id, base.snapshot_id))
    schema = schemathesis.openapi.from_dict(httpx.get(f"{asking.url}/openapi.json").json())
    schema.config.update(base_url=asking.url)
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


@pytest.mark.timeout(600)
def test_whatever_is_sent_the_answer_is_one_that_is_described(door):
    # Somebody works, for as long as this takes.
    with door.ledger._engine.begin() as connection:
        connection.execute(workers.insert().values(id="w", executor="w", seen_at=time.time() + 3600))
    schema = schemathesis.openapi.from_dict(httpx.get(f"{door.url}/openapi.json").json())
    schema.config.update(base_url=door.url)
    # From later than to, a role without assigned: sentences that no schema says.
    schema.config.checks.positive_data_acceptance.expected_statuses = ["2xx", "400", "401", "404", "409"]
    refused = schema.config.checks.negative_data_rejection
    refused.expected_statuses = [*refused.expected_statuses, "413"]
    seen: Counter[int] = Counter()
    by_path: defaultdict[str, set[int]] = defaultdict(set)
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=15 if "/desk/" in operation.path else 40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            )
            def answered(case):
                # Schemathesis itself asks once more without it, and expects to be refused.
                answer = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
                case.validate_response(answer, headers={"Authorization": f"Bearer {TOKEN}"})
                assert answer.status_code < 500
                seen[answer.status_code] += 1
                by_path[case.operation.path].add(answer.status_code)

            with contextlib.suppress(Unsatisfiable):  # an address without parameters lets nothing wrong be sent
                answered()
    assert seen[200] > 0
    assert seen[401] + seen[404] > 20
    without = {path for path, statuses in by_path.items() if path.startswith("/desk/") and 200 not in statuses}
    # What names a ticket, a task or a room by chance finds none.
    assert {path for path in without if "{" not in path} <= {
        "/desk/severity", "/desk/similar", "/desk/route", "/desk/sentence", "/desk/questions", "/desk/portrait", "/desk/marks",
        "/desk/knowledge/entry",
        "/desk/tasks", "/desk/report",
    }  # fmt: skip
