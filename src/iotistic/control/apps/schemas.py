"""What the routes about apps take and give."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field, StringConstraints

from iotistic.control.apps.rows import Application
from iotistic.control.devices.fleet_schemas import Shape
from iotistic.control.states.model import Standing

Name = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$")]
Identifier = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$")]
Title = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
AppNumber = Annotated[int, Field(ge=1, lt=2**53)]
Services = Annotated[list[dict[str, Any]], Field(max_length=200)]
DeployNow = Annotated[bool, Query(description="Put this app's part in force at once; needs device:control.")]
Expected = Annotated[
    int | None,
    Query(
        alias="expectedVersion",
        ge=1,
        lt=2**63,
        description="The version that you believe to be in force; another one is refused with 409.",
    ),
]


class NewApp(Shape):
    """An app for a device. `services` may be flat (`serviceName`, `image`, `ports`, ...) or have a `config`."""

    app_id: AppNumber | Identifier | None = Field(
        default=None, description="Without it, the next number that is free."
    )
    app_name: Name | None = None
    services: Services | None = Field(
        default=None, description="Without them, those that the application of this number begins with."
    )
    rolling_update: bool | None = None


class AppChange(Shape):
    """What to change of an app; what is not named stays."""

    app_name: Name | None = None
    services: Services | None = Field(
        default=None,
        description="All services that it has then. One with the name of one that stands keeps its id and what is not "
        "mentioned of it; null takes a key away.",
    )
    rolling_update: bool | None = None
    state: Annotated[str, StringConstraints(pattern="^(running|stopped|paused)$")] | None = None


class AppStanding(Shape):
    """An app of a device as it waits (or is in force, when nothing waits), after a change."""

    uuid: UUID
    app_id: str
    app: dict[str, Any] | None = Field(description="As it waits; null: it is to go.")
    in_force: dict[str, Any] | None = Field(description="As it is in force; null: it is not.")
    version: int
    etag: str
    needs_deployment: bool

    @classmethod
    def of(cls, uuid: UUID, app_id: str, standing: Standing) -> "AppStanding":
        """Show an app within a standing."""
        in_force = standing.target.content()
        waiting = in_force if standing.draft is None else standing.draft
        return cls(
            uuid=uuid,
            app_id=app_id,
            app=waiting["apps"].get(app_id),
            in_force=in_force["apps"].get(app_id),
            version=standing.target.version,
            etag=standing.target.etag,
            needs_deployment=standing.needs_deployment,
        )


class NewApplication(Shape):
    """An application, known beside devices."""

    app_name: Title
    app_id: AppNumber | None = None
    slug: Slug | None = None
    description: Text = ""
    default_config: dict[str, Any] = Field(default_factory=dict[str, Any])


class ApplicationChange(Shape):
    """What to change of an application."""

    app_name: Title | None = None
    slug: Slug | None = None
    description: Text | None = None
    default_config: dict[str, Any] | None = None

    def named(self) -> dict[str, Any]:
        """Return what is to change, by the names that the model has."""
        given = self.model_dump(exclude_none=True)
        return {"name" if name == "app_name" else name: value for name, value in given.items()}


class ApplicationShape(Shape):
    """An application as it is kept."""

    app_id: int
    app_name: str
    slug: str
    description: str
    default_config: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, found: Application) -> "ApplicationShape":
        """Show an application."""
        return cls(
            app_id=found.app_id,
            app_name=found.name,
            slug=found.slug,
            description=found.description,
            default_config=dict(found.default_config),
            created_at=found.created_at,
            updated_at=found.updated_at,
        )


class ApplicationPage(Shape):
    """Applications by their number; `next_after` is what to ask for the rest with."""

    items: list[ApplicationShape]
    next_after: int | None


class AppIdRequest(Shape):
    """For whom a number is; kept nowhere."""

    app_name: Title | None = None


class AppIdAnswer(Shape):
    """A number for an app."""

    app_id: int


class ServiceIdRequest(Shape):
    """For whom a number is; kept nowhere."""

    service_name: Title | None = None
    app_id: AppNumber | Identifier | None = None
    image_name: Title | None = None


class ServiceIdAnswer(Shape):
    """A number for a service."""

    service_id: int
