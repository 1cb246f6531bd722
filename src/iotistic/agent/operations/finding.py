"""Finds apps and services by what people call them: an id, or a name."""

from iotistic.kernel.errors import Conflict, NotFound
from iotistic.planning.model import App, Current, Service, Target


class AppUnknown(NotFound):
    """There is no such app on this device."""

    code = "operations.app_unknown"


class ServiceUnknown(NotFound):
    """There is no such service on this device."""

    code = "operations.service_unknown"


class NameAmbiguous(Conflict):
    """Several of them have this name."""

    code = "operations.name_ambiguous"


def find_app(target: Target, wanted: str) -> App:
    """Return the app of this id, or else of this name. Raises AppUnknown and NameAmbiguous."""
    found = [app for app in target.apps if app.id == wanted] or [
        app for app in target.apps if app.name == wanted
    ]
    if not found:
        known = ", ".join(f"{app.name} ({app.id})" for app in target.apps) or "none"
        raise AppUnknown(f"this device has no app {wanted!r}", hint=f"its apps: {known}")
    if len(found) > 1:
        ids = [app.id for app in found]
        raise NameAmbiguous(f"{len(found)} apps are called {wanted!r}", hint=f"use an id: {', '.join(ids)}")
    return found[0]


def find_service(target: Target, wanted: str, app: str = "") -> tuple[App, Service]:
    """Return the service of this id, or else of this name; of all apps, or of one.

    Raises ServiceUnknown, AppUnknown and NameAmbiguous.
    """
    apps = (find_app(target, app),) if app else target.apps
    pairs = [(one, service) for one in apps for service in one.services]
    found = [pair for pair in pairs if pair[1].key.service_id == wanted] or [
        pair for pair in pairs if pair[1].name == wanted
    ]
    if not found:
        known = ", ".join(f"{service.name} ({service.key.service_id})" for _, service in pairs) or "none"
        raise ServiceUnknown(f"this device has no service {wanted!r}", hint=f"its services: {known}")
    if len(found) > 1:
        names = ", ".join(f"{one.name} ({one.id})" for one, _ in found)
        raise NameAmbiguous(f"{len(found)} services are called {wanted!r}", hint=f"say of which app: {names}")
    return found[0]


def find_purgeable(target: Target, current: Current, wanted: str) -> str:
    """Return the id of an app that is wanted, or that left volumes behind. Raises AppUnknown and NameAmbiguous."""
    try:
        return find_app(target, wanted).id
    except AppUnknown:
        if any(volume.app_id == wanted for volume in current.volumes):
            return wanted
        raise
