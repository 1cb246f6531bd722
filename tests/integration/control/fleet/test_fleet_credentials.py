"""Every route about devices times every credential: in where its declaration says so, and nowhere else."""

import uuid

import pytest

from iotistic.control.access.model import ROLE_PERMISSIONS, Role
from iotistic.control.access.routing import check_routes

OPEN = {"/metrics", "/openapi.json", "/docs", "/docs/{name}", "/health/live", "/health/ready"}
DEVICES_OWN = "device"
REFUSED = {401, 403}


def table(fleet):
    return [need for need in check_routes(fleet.app) if need.path not in OPEN]


def needs_a_device(need):
    return any("API key" in rule or "credential" in rule for rule in need.rules)


async def ask(fleet, need, headers, named):
    path = need.path.removeprefix("/api/v1").format(uuid=named, key="nothing")
    path = (
        path if "follow" not in path else path + "?level=loud"
    )  # refused after the door, not an endless answer
    body = {named: {}} if path == "/device/state" else {}
    content = {} if need.method == "GET" else {"json": body}
    return await fleet.client.request(need.method, path, headers=headers, **content)


async def test_no_route_is_open_and_each_says_what_it_needs(fleet):
    needs = table(fleet)
    refused = [await ask(fleet, need, {}, str(uuid.uuid4())) for need in needs]

    assert len(needs) >= 25
    assert {answer.status_code for answer in refused} == {401}


@pytest.mark.parametrize("role", list(Role))
async def test_people_are_let_in_by_their_permissions(fleet, role):
    device = await fleet.add()
    headers = {"Authorization": f"Bearer {role}"}
    needs = [need for need in table(fleet) if not needs_a_device(need)]
    let_in = {
        str(need): (await ask(fleet, need, headers, device.uuid)).status_code not in REFUSED for need in needs
    }

    assert let_in == {str(need): set(need.rules) <= set(ROLE_PERMISSIONS[role]) for need in needs}


async def test_another_devices_key_opens_nothing(fleet):
    device, other = await fleet.add(), await fleet.add()
    bearer = {"Authorization": f"Bearer {other.api_key}"}
    answers = [
        await ask(fleet, need, headers, device.uuid)
        for need in table(fleet)
        for headers in (other.headers, bearer)
    ]

    assert {answer.status_code for answer in answers} <= REFUSED
    assert (await device.poll()).status_code == 200


async def test_people_open_no_route_that_is_for_the_device_but_deletion(fleet):
    device = await fleet.add()
    headers = {"Authorization": "Bearer owner"}
    needs = [need for need in table(fleet) if needs_a_device(need)]
    opened = [
        str(need)
        for need in needs
        if (await ask(fleet, need, headers, device.uuid)).status_code not in REFUSED
    ]

    assert opened == ["DELETE /api/v1/devices/{uuid}"]


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("operator", 403), ("manager", 403), ("admin", 200)]
)
async def test_devices_are_deleted_by_those_who_may(fleet, role, status):
    device = await fleet.add()
    answer = await fleet.ask("DELETE", f"/devices/{device.uuid}", role=role)

    assert answer.status_code == status
