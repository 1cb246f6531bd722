"""In what two configurations differ, and whether a living container can be brought from one to the other."""

from dataclasses import fields

from iotistic.planning.images import are_same
from iotistic.planning.model import Container, Resources, Service, ServiceConfig

_FIELDS = tuple(field.name for field in fields(ServiceConfig))
_LIVE = frozenset({"restart", "resources", "probes", "stop_timeout_s", "strategy", "handover_s"})


def differences(have: ServiceConfig, want: ServiceConfig) -> tuple[str, ...]:
    """Return the names of the fields that differ."""
    if have == want:
        return ()
    return tuple(
        name
        for name in _FIELDS
        if getattr(have, name) != getattr(want, name)
        and not (name == "image" and are_same(have.image, want.image))
    )


def reasons_to_remake(have: ServiceConfig, want: ServiceConfig) -> tuple[str, ...]:
    """Return the names of the differing fields that need another container."""
    return tuple(
        name
        for name in differences(have, want)
        if name not in _LIVE or (name == "resources" and _takes_away(have.resources, want.resources))
    )


def live_changes(container: Container, service: Service) -> tuple[str, ...]:
    """Return what can be changed while the container lives, and is to be."""
    named = () if container.name == service.name else ("name",)
    return (*named, *(name for name in differences(container.config, service.config) if name in _LIVE))


def _takes_away(have: Resources, want: Resources) -> bool:
    """Say whether a limit is to go: engines can change the limits of a container, but not lift them."""
    return any(
        getattr(have, field.name) is not None and getattr(want, field.name) is None
        for field in fields(Resources)
    )
