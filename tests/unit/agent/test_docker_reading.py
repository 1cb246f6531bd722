"""What Docker says of a container, as the planner compares it."""

import json

import pytest

from iotistic.agent.engines.docker import names
from iotistic.agent.engines.docker.reading import read


def document(container_id, service, *aliases):
    labels = {
        names.APP_ID: "7",
        names.APP_NAME: "shop",
        names.SERVICE_ID: "2",
        names.SERVICE_NAME: service,
        names.CONFIG: json.dumps({"image": "db:1", "networks": ["back"]}),
    }
    return {
        "Id": container_id,
        "Name": f"/shop_{service}_2",
        "Config": {"Labels": labels},
        "HostConfig": {},
        "State": {"Status": "running", "ExitCode": 0, "StartedAt": "2026-01-01T00:00:00Z"},
        "NetworkSettings": {"Networks": {"7_back": {"Aliases": list(aliases)}}},
    }


@pytest.mark.parametrize("service", ["web", "db", "d", "db1234567890", "cafe"])
def test_a_container_is_known_by_its_services_name_whatever_its_id_begins_with(service):
    container_id = (service + "0" * 64)[:64] if service != "web" else "0" * 64
    short = "f" * 12
    one = read(document(container_id.replace("db1234567890", "db1234567891"), service, service, short))

    assert one.leads
    assert one.container.name == service


def test_the_short_id_is_no_name():
    one = read(document("db" + "0" * 62, "db", "db" + "0" * 10))

    assert one.aliases("7_back") == []
    assert not one.leads
