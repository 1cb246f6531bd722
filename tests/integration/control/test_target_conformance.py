"""The routes of targets, apps, templates and registries keep what their description says, whatever is sent."""

import asyncio

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from target_desk import served
from test_job_conformance import CHECKS, EXAMPLES

ABOUT = ("/apps", "/applications", "/services/next-id", "/target-templates", "/registries", "/deploy")


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
    ("mode", "knows"), [(GenerationMode.POSITIVE, ["uuid"]), (GenerationMode.NEGATIVE, [])]
)
async def test_answers_about_targets_are_as_described(pool, mode, knows):
    async with served(pool, image_registry_timeout_s=0.2) as desk:
        device = await desk.device()
        url = desk.cloud.url.removesuffix("/api/v1")

        def run():
            schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
            operations = [found.ok() for found in schema.get_all_operations()]
            checked = [one for one in operations if any(part in one.path for part in ABOUT)]
            for operation in checked:
                check(operation, mode, dict.fromkeys(knows, device.uuid))
            return len(checked)

        assert await asyncio.to_thread(run) >= 25
