"""The routes of jobs keep what their description says, for thousands of generated requests."""

import asyncio
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from job_cloud import JobCloud, served
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

EXAMPLES = int(os.environ.get("CONFORMANCE_EXAMPLES", "8"))


def check(operation, mode, headers):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def requests(case):
        case.call_and_validate(headers=headers, checks=CHECKS)

    requests()


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
async def test_answers_are_as_described(pool, mode):
    async with served(JobCloud(pool)) as cloud:
        device = await cloud.device()
        url = cloud.url.removesuffix("/api/v1")
        headers = {"Authorization": "Bearer owner", "X-Device-API-Key": device.key}

        def run():
            schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
            operations = [found.ok() for found in schema.get_all_operations()]
            checked = [
                one
                for one in operations
                if "/jobs" in one.path
                and (
                    mode is GenerationMode.POSITIVE
                    or {"parameters", "requestBody"} & one.definition.raw.keys()
                )
            ]
            for operation in checked:
                check(operation, mode, headers)
            return len(checked)

        assert await asyncio.to_thread(run) >= 25
