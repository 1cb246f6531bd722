"""/registries: where images come from, and what their tags stand for now."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field, SecretStr, StringConstraints, model_validator

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.fleet_schemas import Described, Shape
from iotistic.control.images.model import Pins, RegistryRow
from iotistic.control.images.registries import Registries
from iotistic.control.images.resolving import ImageResolver

_Writer = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]
_READER = [requires(Permission.SETTINGS_READ)]
_RESOLVER = [requires(Permission.DEVICE_WRITE)]
_Host = Annotated[str, Path(max_length=260, description="As names of images have it: registry.example:5000.")]
_Pem = Annotated[str, StringConstraints(max_length=65_536, pattern=r"^[^\x00]*$")]
_Image = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[a-z0-9]\S*$")]


class RegistryRequest(Shape):
    """How a registry is spoken to: all of it, in the place of what was kept."""

    username: Described = ""
    password: Annotated[SecretStr, Field(max_length=10_000)] | None = None
    ca_pem: _Pem = ""
    is_plain: bool = Field(default=False, description="Without TLS.")

    @model_validator(mode="after")
    def _both_or_neither(self) -> "RegistryRequest":
        if (self.username == "") != (self.password is None):
            raise ValueError("give a username and a password, or neither")
        if ":" in self.username:
            raise ValueError("a username has no colon")
        return self


class RegistryShape(Shape):
    """A registry, without its password."""

    host: str
    username: str
    has_password: bool
    ca_pem: str
    is_plain: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, row: RegistryRow) -> "RegistryShape":
        """Show a registry."""
        return cls(
            host=row.host,
            username=row.username,
            has_password=row.has_password,
            ca_pem=row.ca_pem,
            is_plain=row.is_plain,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


class RegistryList(Shape):
    """Every registry that was described."""

    items: list[RegistryShape]


class ResolveRequest(Shape):
    """Images by their tags."""

    images: list[_Image] = Field(min_length=1, max_length=200)


class Missed(Shape):
    """Why an image could not be looked up."""

    code: str
    reason: str


class PinsShape(Shape):
    """What tags stand for."""

    resolved: dict[str, str] = Field(description="Image as it was named -> with its digest.")
    unresolved: dict[str, Missed]

    @classmethod
    def of(cls, pins: Pins) -> "PinsShape":
        """Show what was found."""
        missed = {image: Missed(code=code, reason=reason) for image, (code, reason) in pins.missed.items()}
        return cls(resolved=dict(pins.found), unresolved=missed)


def registry_router(registries: Registries, resolver: ImageResolver) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/registries", tags=["images"])

    @router.get("", operation_id="list_registries", dependencies=_READER)
    async def list_all() -> RegistryList:
        """Registries that were described; every other is asked over TLS, as nobody."""
        return RegistryList(items=[RegistryShape.of(one) for one in await registries.list_all()])

    @router.put("/{host}", operation_id="set_registry")
    async def put(host: _Host, caller: _Writer, asked: RegistryRequest) -> RegistryShape:
        """Say how a registry is spoken to; its password is kept encrypted, and never shown."""
        kept = await registries.put(
            host,
            username=asked.username,
            password=asked.password,
            ca_pem=asked.ca_pem,
            is_plain=asked.is_plain,
            by=caller.name,
        )
        resolver.forget()
        return RegistryShape.of(kept)

    @router.delete("/{host}", operation_id="remove_registry", status_code=204)
    async def remove(host: _Host, caller: _Writer) -> None:
        """Forget a registry."""
        await registries.remove(host, by=caller.name)
        resolver.forget()

    @router.post("/resolve", operation_id="resolve_images", dependencies=_RESOLVER)
    async def resolve(asked: ResolveRequest) -> PinsShape:
        """What tags stand for now; what cannot be looked up is told with the reason."""
        return PinsShape.of(await resolver.pins(asked.images))

    _ = list_all, put, remove, resolve
    return router
