"""What a rollout changes, applied to one device's target. Pure; the same change gives each device its own target.

set       the whole content: {apps, config, options?}
patch     a merge patch of the content (RFC 7386): what is named changes, null removes
config    the same, of the device's own settings only
image     the image of a service, wherever it runs
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from iotistic.control.images.model import images_of, is_pinned, pinned
from iotistic.kernel.errors import Conflict
from iotistic.planning.images import are_same

_DEEPEST = 50
_Short = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00]*$")]
_Image = Annotated[str, StringConstraints(min_length=1, max_length=640, pattern=r"^[a-z0-9]\S*$")]


class ServiceMissing(Conflict):
    """The device's target has no such service."""

    code = "rollout.service_missing"


class TooDeep(Conflict):
    """The change is nested too deeply."""

    code = "rollout.change_too_deep"


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)


class SetTarget(_Shape):
    """Another target altogether, the same for all."""

    kind: Literal["set"]
    apps: dict[str, Any] | list[Any] = Field(default_factory=dict[str, Any])
    config: dict[str, Any] = Field(default_factory=dict[str, Any])
    options: dict[str, Any] | None = None

    def apply(self, content: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002  the others need it
        """Return the new content."""
        new: dict[str, Any] = {"apps": self.apps, "config": self.config}
        return new if self.options is None else {**new, "options": self.options}


class PatchTarget(_Shape):
    """Changes of the content; what is not named stays."""

    kind: Literal["patch"]
    patch: dict[str, Any]

    def apply(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new content. Raises TooDeep."""
        return cast("dict[str, Any]", merged(content, self.patch))


class PatchConfig(_Shape):
    """Changes of the device's settings."""

    kind: Literal["config"]
    config: dict[str, Any]

    def apply(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new content. Raises TooDeep."""
        return cast("dict[str, Any]", merged(content, {"config": self.config}))


class SetImage(_Shape):
    """Another image of a service; with `app` (its id or name) only there, with `only` where that runs."""

    kind: Literal["image"]
    service: _Short
    image: _Image
    app: _Short | None = None
    only: _Image | None = None

    def apply(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the new content. Raises ServiceMissing."""
        new = copy.deepcopy(dict(content))
        found = [service for service in self._services(new) if self._is_meant(service)]
        if not found:
            raise ServiceMissing(f"its target has no service {self.service}", service=self.service)
        for service in found:
            config = service.get("config")
            if "image" in service or not isinstance(config, dict):
                service["image" if "image" in service else "imageName"] = self.image
            if isinstance(config, dict):
                config["image"] = self.image
            if "imageName" in service:
                service["imageName"] = self.image
        return new

    def _services(self, content: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        apps = content.get("apps")
        for app_id, app in (cast("dict[str, Any]", apps if isinstance(apps, dict) else {})).items():
            if isinstance(app, dict) and self.app in (
                None,
                app_id,
                cast("dict[str, Any]", app).get("appName"),
            ):
                services = cast("dict[str, Any]", app).get("services")
                for service in cast("list[Any]", services if isinstance(services, list) else []):
                    if isinstance(service, dict):
                        yield cast("dict[str, Any]", service)

    def _is_meant(self, service: Mapping[str, Any]) -> bool:
        if self.service != service.get("serviceName"):
            return False
        runs = image_of(service)
        return self.only is None or (runs is not None and are_same(runs, self.only))


Change = Annotated[SetTarget | PatchTarget | PatchConfig | SetImage, Field(discriminator="kind")]


def named_images(change: Change) -> list[str]:
    """Return the images that a change itself names by tags; those that devices have already are not its business."""
    if isinstance(change, SetImage):
        return [] if is_pinned(change.image) else [change.image]
    return images_of(_content_of(change))


def with_digests(change: Change, pins: Mapping[str, str]) -> Change:
    """Return a change with digests where they are known: every device gets the same, for as long as it lasts."""
    if isinstance(change, SetImage):
        return change.model_copy(update={"image": pins.get(change.image, change.image)})
    if not (found := pinned(_content_of(change), pins).get("apps")):
        return change
    if isinstance(change, SetTarget):
        return change.model_copy(update={"apps": {**cast("dict[str, Any]", change.apps), **found}})
    if isinstance(change, PatchTarget):
        return change.model_copy(
            update={"patch": {**change.patch, "apps": {**change.patch["apps"], **found}}}
        )
    return change


def _content_of(change: Change) -> dict[str, Any]:
    """Return the apps that a change writes, of those that can be read; what is wrong with others is said elsewhere."""
    if isinstance(change, PatchConfig | SetImage):
        return {}
    apps: object = change.apps if isinstance(change, SetTarget) else change.patch.get("apps")
    if not isinstance(apps, dict):
        return {}
    read = cast("dict[str, Any]", apps)
    return {"apps": {app_id: app for app_id, app in read.items() if _is_app(app)}}


def _is_app(app: object) -> bool:
    services = cast("dict[str, Any]", app).get("services") if isinstance(app, dict) else None
    return isinstance(services, list) and all(isinstance(one, dict) for one in cast("list[Any]", services))


def image_of(service: Mapping[str, Any]) -> str | None:
    """Return the image of a service as a target document has it, in the order that agents read it."""
    config = service.get("config")
    within = cast("dict[str, Any]", config).get("image") if isinstance(config, dict) else None
    for found in (within, service.get("image"), service.get("imageName")):
        if isinstance(found, str):
            return found
    return None


def merged(value: Any, patch: Any, depth: int = 0) -> Any:
    """Return a value with a merge patch applied (RFC 7386). Raises TooDeep."""
    if depth > _DEEPEST:
        raise TooDeep
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    new: dict[str, Any] = dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else {}
    for name, change in cast("Mapping[str, Any]", patch).items():
        if change is None:
            new.pop(name, None)
        else:
            new[name] = merged(new.get(name), change, depth + 1)
    return new
