"""A cloud with everything about targets, served on a real PostgreSQL; people of each role, by the role's name."""

import contextlib
from uuid import UUID

import device_cloud
from device_cloud import BASE, Cloud, Device
from job_cloud import Roles
from pydantic import SecretStr

from iotistic.control.access.addresses import ClientAddresses
from iotistic.control.access.model import ApiKeyPrincipal, Permission
from iotistic.control.access.rules import Gate, install_gate
from iotistic.control.apps.applications import Applications
from iotistic.control.apps.device_apps import DeviceApps
from iotistic.control.apps.registry_routes import application_router
from iotistic.control.apps.routes import device_app_router
from iotistic.control.audit.trail import AuditTrail
from iotistic.control.devices.fleet_routes import fleet_router
from iotistic.control.devices.lifecycle import Lifecycle
from iotistic.control.devices.source import FleetDeviceSource
from iotistic.control.images.registries import Registries
from iotistic.control.images.resolving import ImageResolver
from iotistic.control.images.routes import registry_router
from iotistic.control.images.settings import ImageSettings
from iotistic.control.rollouts.routes import rollout_router
from iotistic.control.rollouts.service import RolloutService
from iotistic.control.rollouts.settings import RolloutSettings
from iotistic.control.rollouts.signals import Surroundings as RolloutAround
from iotistic.control.states.operator_routes import target_router
from iotistic.control.templates.routes import target_template_router
from iotistic.control.templates.service import TemplatedBeginnings, TemplateService
from iotistic.control.why.routes import why_router
from iotistic.control.why.service import WhyService
from iotistic.control.why.settings import WhySettings
from iotistic.kernel.sealing import Seal
from iotistic.kernel.web.attempts import FailedAttempts

WRITER = "a key that may change and not deploy"


class _People(Roles):
    async def find(self, token):
        if token == WRITER:
            allowed = frozenset({Permission.DEVICE_READ, Permission.DEVICE_WRITE})
            return ApiKeyPrincipal(key_id="writer", user_id=UUID(int=1), permissions=allowed)
        return await super().find(token)


class Desk:
    """The cloud, and what people do there."""

    def __init__(self, cloud: Cloud):
        self.cloud, self.pool = cloud, cloud.pool

    async def ask(self, method, path, body=None, *, role="owner", **params):
        headers = {"Authorization": f"Bearer {role}"}
        return await self.cloud.client.request(method, path, json=body, headers=headers, params=params)

    async def device(self) -> Device:
        device = Device(self.cloud, await self.cloud.key())
        await device.provision()
        return device

    async def done(self):
        """Return what the audit trail has of targets and apps."""
        rows = await self.pool.fetch("SELECT event_type FROM audit_logs ORDER BY id")
        return [
            row["event_type"] for row in rows if not row["event_type"].startswith(("device", "provision"))
        ]


def routers(cloud, **settings):
    """Return the routes that are tried here."""
    told = {"trail": AuditTrail(), "clock": cloud.clock}
    chosen = ImageSettings(**{"registry_secret": SecretStr("secret " * 8), **settings})
    seal = Seal(chosen.registry_secret, purpose="registries", setting="REGISTRY_SECRET")
    registries = Registries(cloud.pool, seal, **told)
    images = ImageResolver(registries, chosen)
    yield target_router(cloud.states, images)
    yield registry_router(registries, images)
    yield device_app_router(DeviceApps(cloud.pool, cloud.states, clock=cloud.clock), cloud.states, images)
    yield fleet_router(cloud.pool, Lifecycle(cloud.pool))
    yield why_router(WhyService(cloud.pool, WhySettings()))
    yield application_router(Applications(cloud.pool, **told))
    yield target_template_router(TemplateService(cloud.pool, cloud.states, **told), images)
    yield rollout_router(
        RolloutService(cloud.pool, RolloutAround(sizes=images), RolloutSettings(), clock=cloud.clock),
        images,
    )


@contextlib.asynccontextmanager
async def served(pool, **settings):
    cloud = device_cloud.build(pool, trail=AuditTrail(), beginnings=TemplatedBeginnings)
    for router in routers(cloud, **settings):
        cloud.app.include_router(router, prefix=BASE)
    gate = Gate(
        callers=_People(),
        devices=FleetDeviceSource(cloud.devices),
        addresses=ClientAddresses(()),
        attempts=FailedAttempts(),
    )
    install_gate(cloud.app, gate)
    async with device_cloud.served(cloud):
        yield Desk(cloud)
