"""/mqtt/brokers: brokers that devices can be sent to."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.broker.brokers import BrokerRow, BrokerService
from iotistic.control.broker.trying import BrokerTrials, Stage, Trial
from iotistic.kernel.web.describing import Answer, answered

_Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
_Host = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:\-\[\]]{1,253}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.\-]{0,99}$")]
_Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
_Pem = Annotated[str, StringConstraints(max_length=65_536, pattern=r"^[^\x00]*$")]
_Password = Annotated[SecretStr, Field(min_length=1, max_length=1024)]
_Port = Annotated[int, Field(ge=1, le=65_535)]
_KeepAlive = Annotated[int, Field(ge=5, le=3600)]
_Reader = requires(Permission.SETTINGS_READ)
_Writer = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BrokerShown(_Shape):
    """A configuration; never its password."""

    id: int
    name: str
    protocol: str
    host: str
    port: int
    username: str
    has_password: bool
    ca_pem: str
    verify_certificate: bool
    keep_alive_s: int
    clean_session: bool
    is_default: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, broker: BrokerRow) -> "BrokerShown":
        """Show a configuration."""
        return cls.model_validate(broker, from_attributes=True)


class BrokersSummary(Answer):
    """How many configurations there are, how many of them over TLS, and which is the default."""

    total: int
    with_tls: int
    default: BrokerShown | None


class BrokerRequest(_Shape):
    """A new configuration; `ca_pem` empty stands for the system's authorities."""

    name: _Name
    protocol: Literal["mqtt", "mqtts"] = "mqtts"
    host: _Host
    port: _Port = 8883
    username: _Text = ""
    password: _Password | None = None
    ca_pem: _Pem = ""
    verify_certificate: bool = True
    keep_alive_s: _KeepAlive = 60
    clean_session: bool = True
    is_default: bool = False


class BrokerChangeRequest(_Shape):
    """What to change; what is absent stays. Another default takes the place of the one before."""

    protocol: Literal["mqtt", "mqtts"] | None = None
    host: _Host | None = None
    port: _Port | None = None
    username: _Text | None = None
    password: _Password | None = None
    ca_pem: _Pem | None = None
    verify_certificate: bool | None = None
    keep_alive_s: _KeepAlive | None = None
    clean_session: bool | None = None
    is_default: Literal[True] | None = None


class BrokerTrial(_Shape):
    """What came of an attempt to connect."""

    ok: bool
    stage: Stage = Field(description="How far it came: name, connection, tls, mqtt, done.")
    code: str = Field(description="Why it is not ok; empty otherwise.")
    reason: str
    hint: str
    took_ms: float
    address: str = Field(description="Where the name led.")
    tls_version: str
    warnings: list[str]

    @classmethod
    def of(cls, trial: Trial) -> "BrokerTrial":
        """Show an attempt."""
        return cls.model_validate(trial, from_attributes=True)


def mqtt_broker_router(brokers: BrokerService, trials: BrokerTrials | None = None) -> APIRouter:
    """Return the routes; without `trials` no broker can be tried."""
    router = APIRouter(prefix="/mqtt/brokers", tags=["brokers"])

    @router.get("", dependencies=[_Reader])
    async def list_mqtt_brokers() -> list[BrokerShown]:
        """Every configuration, by name."""
        return [BrokerShown.of(one) for one in await brokers.list_all()]

    @router.get("/summary", dependencies=[_Reader], responses=answered(BrokersSummary))
    async def summarise_mqtt_brokers() -> dict[str, Any]:
        """How many there are, and which is the default."""
        found = await brokers.list_all()
        default = next((one for one in found if one.is_default), None)
        return {
            "total": len(found),
            "with_tls": sum(one.protocol == "mqtts" for one in found),
            "default": BrokerShown.of(default) if default else None,
        }

    @router.get("/{broker_id}", dependencies=[_Reader])
    async def find_mqtt_broker(broker_id: _Id) -> BrokerShown:
        """One configuration."""
        return BrokerShown.of(await brokers.find(broker_id))

    @router.post("", status_code=201)
    async def create_mqtt_broker(asked: BrokerRequest, caller: _Writer) -> BrokerShown:
        """Keep a configuration; its CA is read first, its password is encrypted."""
        given = asked.model_dump(exclude={"name", "password"})
        return BrokerShown.of(await brokers.create(asked.name, given, asked.password, by=caller.name))

    @router.put("/{broker_id}")
    async def change_mqtt_broker(broker_id: _Id, asked: BrokerChangeRequest, caller: _Writer) -> BrokerShown:
        """Change what the body names."""
        given = asked.model_dump(exclude={"password"}, exclude_none=True)
        return BrokerShown.of(await brokers.change(broker_id, given, asked.password, by=caller.name))

    @router.delete("/{broker_id}", status_code=204)
    async def delete_mqtt_broker(broker_id: _Id, caller: _Writer) -> None:
        """Forget a configuration."""
        await brokers.remove(broker_id, by=caller.name)

    if trials is not None:
        _add_trying(router, brokers, trials)
    _ = list_mqtt_brokers, summarise_mqtt_brokers, find_mqtt_broker
    _ = create_mqtt_broker, change_mqtt_broker, delete_mqtt_broker
    return router


def _add_trying(router: APIRouter, brokers: BrokerService, trials: BrokerTrials) -> None:
    @router.post("/{broker_id}/test")
    async def test_mqtt_broker(broker_id: _Id, caller: _Writer) -> BrokerTrial:
        """Connect with the configuration's CA and login, and say what came of it; also a failure is an answer."""
        del caller  # who may change a login may use it
        broker = await brokers.find(broker_id)
        return BrokerTrial.of(await trials.attempt(broker, await brokers.password(broker_id)))

    _ = test_mqtt_broker
