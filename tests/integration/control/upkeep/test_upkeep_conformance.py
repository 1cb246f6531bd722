"""The routes of tasks keep what their description says, whatever is sent."""

import asyncio
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from upkeep_builders import Upkeep, served

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "8"))


def check(operation, mode, known):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def requests(case):
        case.path_parameters |= {name: known[name] for name in case.path_parameters.keys() & known.keys()}
        case.call_and_validate(headers={"Authorization": "Bearer owner"}, checks=CHECKS)

    requests()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "known"),
    [(GenerationMode.POSITIVE, {"name": "sweep", "run_id": 1}), (GenerationMode.NEGATIVE, {})],
)
async def test_answers_about_tasks_are_as_described(pool, mode, known):
    upkeep = Upkeep(pool)
    await upkeep.at(upkeep.keeper(upkeep.task(is_soon=True)))
    async with served(upkeep) as client:
        url = str(client.base_url).partition("/api/v1")[0]

        def run():
            schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
            operations = [found.ok() for found in schema.get_all_operations()]
            checked = [one for one in operations if "/tasks" in one.path]
            for operation in checked:
                check(operation, mode, known)
            return len(checked)

        assert await asyncio.to_thread(run) == 6
