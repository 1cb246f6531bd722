"""The API process keeps what its description says, for thousands of generated requests."""

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
import schemathesis
from api_builders import AUTH, TOKEN
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from iotistic.entrypoints.api import PREFIX
from iotistic.kernel.process import pick_port


@pytest.fixture(scope="module")
def module_database(postgres_runner, postgres_admin, postgres, template_database):
    postgres_runner.run(postgres_admin.execute(f"CREATE DATABASE conformance TEMPLATE {template_database}"))
    yield postgres.with_database("conformance")
    postgres_runner.run(postgres_admin.execute("DROP DATABASE conformance WITH (FORCE)"))


@pytest.fixture(scope="module")
def api_url(module_database, tmp_path_factory: pytest.TempPathFactory):
    """`python -m iotistic api`, without any broker."""
    home: Path = tmp_path_factory.mktemp("home")
    port = pick_port(0)
    environment = (
        os.environ
        | module_database.environment()
        | {
            "IOTISTIC_HOME": str(home),
            "API_PORT": str(port),
            "API_TOKEN": TOKEN,
            "MQTT_SERVICE_PORT": str(pick_port(0)),
        }
    )
    child = subprocess.Popen([sys.executable, "-m", "iotistic", "api"], env=environment)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not _is_ready(url):
        time.sleep(0.05)
    yield url
    child.terminate()
    assert child.wait(15) == 0


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health/ready", verify=False).is_success
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="module")
def api_schema(api_url: str):
    return schemathesis.openapi.from_url(f"{api_url}/openapi.json")


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
SKIPPED = ("/stream", "/metrics", "/replay")  # endless, not ours to describe, waits for a broker


# Telemetry's own; the control plane's 180 others, each of which its room's tests try too.
MANY, FEW = (int(os.environ.get("CONFORMANCE_EXAMPLES", few)) for few in ("6", "2"))
ANY_TEXT = {"type": "string"}


def can_be_wrong(operation) -> bool:
    """Tell whether anything of a request can be wrong: any text is right for a part of a path."""
    raw = operation.definition.raw
    parameters = raw.get("parameters", ())
    return "requestBody" in raw or any(one["in"] != "path" or one["schema"] != ANY_TEXT for one in parameters)


def check(operation, mode: GenerationMode) -> None:
    """Send some generated requests; raise with a command to repeat the first that shows a fault."""

    @settings(
        max_examples=MANY if operation.path.startswith(PREFIX) else FEW,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        derandomize=True,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def requests(case) -> None:
        case.call_and_validate(headers=AUTH, checks=CHECKS)

    requests()


def fault_of(operation, mode: GenerationMode) -> str:
    """Return what is wrong with an operation, so that one run tells all; empty for nothing."""
    try:
        check(operation, mode)
    except (Exception, BaseExceptionGroup) as exc:  # noqa: BLE001  whatever a check finds
        return str(exc)[:1500]
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "least"), [(GenerationMode.POSITIVE, 20), (GenerationMode.NEGATIVE, 15)])
def test_answers_are_as_described(api_schema, mode, least):
    operations = [found.ok() for found in api_schema.get_all_operations()]
    checked = [
        operation
        for operation in operations
        if not operation.path.endswith(SKIPPED)
        and (mode is GenerationMode.POSITIVE or can_be_wrong(operation))
    ]
    found = {operation.label: fault_of(operation, mode) for operation in checked}

    assert {label: fault for label, fault in found.items() if fault} == {}
    assert len(found) >= least
