"""Roles, their permissions, and scopes."""

from itertools import pairwise
from uuid import uuid4

import pytest

from iotistic.control.access.model import (
    KEY_SCOPES,
    ROLE_PERMISSIONS,
    DevicePrincipal,
    OutOfScope,
    Permission,
    Role,
    Scope,
)


def held_by(role):
    return {permission.value for permission in ROLE_PERMISSIONS[role]}


def test_an_owner_may_do_everything():
    assert ROLE_PERMISSIONS[Role.OWNER] == frozenset(Permission)


def test_an_admin_may_do_all_but_billing():
    assert frozenset(Permission) - ROLE_PERMISSIONS[Role.ADMIN] == {
        Permission.BILLING_READ,
        Permission.BILLING_MANAGE,
    }


def test_a_manager_deletes_and_revokes_nothing():
    assert held_by(Role.ADMIN) - held_by(Role.MANAGER) == {
        "user:delete",
        "device:delete",
        "data:delete",
        "api-key:revoke",
    }


def test_an_operator_reads_and_controls():
    assert {name.rpartition(":")[2] for name in held_by(Role.OPERATOR)} == {"read", "control"}


def test_a_viewer_reads_users_devices_data_and_settings():
    assert held_by(Role.VIEWER) == {"user:read", "device:read", "data:read", "settings:read"}


def test_each_role_may_do_what_the_next_one_may():
    roles = list(Role)

    assert all(ROLE_PERMISSIONS[lower] < ROLE_PERMISSIONS[higher] for higher, lower in pairwise(roles))


@pytest.mark.parametrize("role", Role)
def test_only_owners_manage_their_own_rank(role):
    managed = {other for other in Role if role.may_manage(other)}

    assert (role in managed) == (role is Role.OWNER)
    assert managed - {role} == {other for other in Role if role.outranks(other)}


def test_no_key_makes_credentials():
    assert {scope.value for scope in frozenset(Permission) - KEY_SCOPES} == {
        "user:write",
        "user:delete",
        "api-key:create",
        "api-key:revoke",
    }


def test_a_device_sees_itself_and_holds_no_permission():
    own, other = uuid4(), uuid4()
    device = DevicePrincipal(device_uuid=own)

    assert (device.scope.sees(own), device.scope.sees(other), device.permissions) == (
        True,
        False,
        frozenset(),
    )
    assert device.scope.parameter() == [own]
    with pytest.raises(OutOfScope):
        device.scope.require(other)


def test_a_scope_without_devices_sees_none_and_the_open_one_all():
    assert not Scope(frozenset()).sees(uuid4())
    assert Scope(frozenset()).parameter() == []
    assert Scope().sees(uuid4())
    assert Scope().parameter() is None
