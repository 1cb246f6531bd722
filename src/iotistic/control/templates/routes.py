"""/target-templates: targets with variables, kept by version, previewed on and applied to one device."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import Field, StringConstraints

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import PermissionMissing, requires
from iotistic.control.devices.fleet_schemas import Shape
from iotistic.control.devices.visible import visible
from iotistic.control.images.model import images_of, pinned
from iotistic.control.images.resolving import ImageResolver
from iotistic.control.states.operator_routes import TargetState
from iotistic.control.templates.model import Template
from iotistic.control.templates.service import Filling, TemplateService

_Reader = Annotated[Caller, requires(Permission.DEVICE_READ)]
_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_READER = [requires(Permission.DEVICE_READ)]
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
_InPath = Annotated[_Name, Path(description="Of the template.")]
_Text = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
_Value = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")] | bool | int | float
_Version = Annotated[int | None, Query(ge=1, lt=2**31)]


class TemplateContent(Shape):
    """A target; its texts may hold {{device.name}}, {{tag.KEY}}, {{param.NAME}}, each with |default."""

    apps: dict[str, dict[str, Any]] = Field(default_factory=dict[str, dict[str, Any]])
    config: dict[str, Any] = Field(default_factory=dict[str, Any])
    options: dict[str, Any] | None = None

    def content(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return self.model_dump(exclude_none=self.options is None)


class NewTemplate(Shape):
    """A template to be kept."""

    name: _Name
    description: _Text = ""
    content: TemplateContent
    parameters: dict[_Name, _Value | None] = Field(
        default_factory=dict[str, Any], description="Each with its default; null: it has to be given."
    )
    is_default: bool = Field(default=False, description="New devices begin with it.")


class TemplateChange(Shape):
    """What to change; other content or parameters make the next version."""

    description: _Text | None = None
    content: TemplateContent | None = None
    parameters: dict[_Name, _Value | None] | None = None
    is_default: bool | None = None
    expected_version: int | None = Field(default=None, ge=1, lt=2**31)

    def named(self) -> dict[str, Any]:
        """Return what is to change."""
        changes = {
            "description": self.description,
            "parameters": self.parameters,
            "is_default": self.is_default,
            "content": self.content.content() if self.content else None,
        }
        return {name: value for name, value in changes.items() if value is not None}


class TemplateShape(Shape):
    """One version of a template."""

    name: str
    description: str
    version: int
    newest: int
    is_default: bool
    content: dict[str, Any]
    parameters: dict[str, Any]
    created_at: datetime
    created_by: str

    @classmethod
    def of(cls, found: Template) -> "TemplateShape":
        """Show a template."""
        return cls(
            name=found.name,
            description=found.description,
            version=found.version,
            newest=found.newest,
            is_default=found.is_default,
            content=dict(found.content),
            parameters=dict(found.parameters),
            created_at=found.created_at,
            created_by=found.created_by,
        )


class TemplatePage(Shape):
    """The newest version of each template, by name; `next_after` is what to ask for the rest with."""

    items: list[TemplateShape]
    next_after: str | None


class FillRequest(Shape):
    """A device, and what it does not know itself."""

    device_uuid: UUID
    parameters: dict[_Name, _Value] = Field(default_factory=dict[str, Any])
    version: int | None = Field(default=None, ge=1, lt=2**31, description="The newest, unless it is named.")
    merge: bool = Field(default=False, description="Keep the device's other apps and settings.")

    def filling(self) -> Filling:
        """Return it as the use case takes it."""
        return Filling(parameters=self.parameters, version=self.version, merge=self.merge)


class ApplyRequest(FillRequest):
    """What to fill in, and whether it is deployed at once."""

    deploy: bool = False
    expected_version: int | None = Field(default=None, ge=1, lt=2**63)
    resolve: bool | None = Field(
        default=None,
        description="Whether tags of images become digests when it is deployed; without it, as the server is set.",
    )


class FilledTemplate(Shape):
    """What a device's target would be."""

    device_uuid: UUID
    apps: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any] | None = None


def target_template_router(templates: TemplateService, images: ImageResolver | None = None) -> APIRouter:
    """Return the routes; without `images` no tag is looked up."""
    router = APIRouter(prefix="/target-templates", tags=["target templates"])
    _add_keeping(router, templates)
    _add_filling(router, templates, images)
    return router


def _add_keeping(router: APIRouter, templates: TemplateService) -> None:
    @router.get("", operation_id="list_target_templates", dependencies=_READER)
    async def list_all(
        after: Annotated[str, Query(max_length=63, pattern=r"^[^\x00]*$")] = "",
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> TemplatePage:
        """The newest version of each template."""
        found = await templates.list_all(after=after, limit=limit + 1)
        rest = found[limit - 1].name if len(found) > limit else None
        return TemplatePage(items=[TemplateShape.of(one) for one in found[:limit]], next_after=rest)

    @router.post("", operation_id="create_target_template", status_code=201)
    async def create(caller: _Writer, asked: NewTemplate) -> TemplateShape:
        """Keep a template; variables that no device could fill are refused by their path."""
        made = await templates.create(
            asked.name,
            asked.content.content(),
            parameters=asked.parameters,
            description=asked.description,
            is_default=asked.is_default,
            by=caller.name,
        )
        return TemplateShape.of(made)

    @router.get("/{name}", operation_id="get_target_template", dependencies=_READER)
    async def find(name: _InPath, version: _Version = None) -> TemplateShape:
        """A template, its newest version unless another is named."""
        return TemplateShape.of(await templates.find(name, version))

    @router.patch("/{name}", operation_id="change_target_template")
    async def change(name: _InPath, caller: _Writer, asked: TemplateChange) -> TemplateShape:
        """Change what is named; devices keep what they have until it is applied again."""
        changed = await templates.change(
            name, asked.named(), expected_version=asked.expected_version, by=caller.name
        )
        return TemplateShape.of(changed)

    @router.delete("/{name}", operation_id="remove_target_template", status_code=204)
    async def remove(name: _InPath, caller: _Writer) -> None:
        """Forget a template with all its versions."""
        await templates.remove(name, by=caller.name)

    _ = list_all, create, find, change, remove


def _add_filling(router: APIRouter, templates: TemplateService, images: ImageResolver | None) -> None:
    @router.post("/{name}/preview", operation_id="preview_target_template")
    async def preview(name: _InPath, caller: _Reader, asked: FillRequest) -> FilledTemplate:
        """What a device's target would be; nothing is changed."""
        uuid = visible(caller, str(asked.device_uuid))
        content = await templates.preview(name, uuid, asked.filling())
        return FilledTemplate(device_uuid=asked.device_uuid, **content)

    @router.post("/{name}/apply", operation_id="apply_target_template")
    async def apply(name: _InPath, caller: _Writer, asked: ApplyRequest) -> TargetState:
        """Let a filled template wait on a device, or deploy it at once (which needs device:control as well)."""
        if asked.deploy and Permission.DEVICE_CONTROL not in caller.permissions:
            raise PermissionMissing(
                hint="leave deploy away, and let somebody deploy who may",
                permission=Permission.DEVICE_CONTROL.value,
            )
        standing = await templates.apply(
            name,
            visible(caller, str(asked.device_uuid)),
            asked.filling(),
            deploy=asked.deploy,
            expected_version=asked.expected_version,
            by=caller.name,
            finish=None if images is None else partial(_finished, images, asked.resolve),
        )
        return TargetState.of(asked.device_uuid, standing)

    _ = preview, apply


async def _finished(images: ImageResolver, wanted: bool | None, content: dict[str, Any]) -> dict[str, Any]:
    pins = await images.look_up(images_of(content), wanted=wanted)
    return content if pins is None else pinned(content, pins.found)
