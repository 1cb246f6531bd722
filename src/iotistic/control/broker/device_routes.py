"""PUT /devices/{uuid}/broker: which broker a device is to speak to.

It is part of the device's target (`config.mqtt`), so it comes by poll as well, is in the history and can be rolled
back. It holds no credential: a device shows a broker what it has.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.broker.brokers import BrokerRow, BrokerService
from iotistic.control.devices.visible import visible
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.states.model import Standing
from iotistic.control.states.service import Edited, StateService

KEY = "mqtt"
"""Where it stands in a target's `config`."""
_Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


class DeviceBrokerRequest(BaseModel):
    """Which configuration of /mqtt/brokers; null is the broker that the device was registered with."""

    model_config = ConfigDict(extra="forbid")

    broker_id: _Id | None = Field(alias="brokerId", examples=[1])


class DeviceBroker(BaseModel):
    """What the device is told; null: the broker that it was registered with."""

    uuid: UUID
    version: int
    mqtt: dict[str, Any] | None


def device_broker_router(brokers: BrokerService, states: StateService) -> APIRouter:
    """Return the route."""
    router = APIRouter(prefix="/devices/{uuid}/broker", tags=["brokers"], route_class=DeviceRoute)

    @router.put("", operation_id="move_device_to_broker")
    async def move(
        uuid: UUID, asked: DeviceBrokerRequest, caller: Annotated[Caller, requires(Permission.DEVICE_CONTROL)]
    ) -> DeviceBroker:
        """Send a device to another broker, at once; it keeps the old one until the new one let it in."""
        visible(caller, str(uuid))
        wanted = None if asked.broker_id is None else told(await brokers.find(asked.broker_id))

        def change(standing: Standing) -> Edited:
            draft = standing.draft
            return Edited(
                draft=None if draft is None else _with(draft, wanted),
                in_force=_with(standing.target.content(), wanted),
            )

        await states.edit(str(uuid), change, by=caller.name, action="device.broker_changed")
        version = (await states.standing(str(uuid))).target.version
        return DeviceBroker(uuid=uuid, version=version, mqtt=wanted)

    _ = move
    return router


def told(broker: BrokerRow) -> dict[str, Any]:
    """Return a configuration as devices read it, in the words of registration."""
    config: dict[str, Any] = {
        "brokerId": broker.id,
        "protocol": broker.protocol,
        "host": broker.host,
        "port": broker.port,
        "useTls": broker.protocol == "mqtts",
        "verifyCertificate": broker.verify_certificate,
        "keepAlive": broker.keep_alive_s,
        "cleanSession": broker.clean_session,
    }
    return config | ({"caCert": broker.ca_pem} if broker.ca_pem else {})


def _with(content: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> dict[str, Any]:
    config = {name: value for name, value in content.get("config", {}).items() if name != KEY}
    return {**content, "config": config if wanted is None else {**config, KEY: dict(wanted)}}
