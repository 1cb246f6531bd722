"""What is left behind and not needed any more: networks, volumes if that was asked for, images."""

from collections.abc import Iterator

from iotistic.planning.facts import Facts
from iotistic.planning.images import canonical
from iotistic.planning.model import Current, Named, Service, Target
from iotistic.planning.steps import RemoveImage, RemoveNetwork, RemoveVolume, Step


def clean(
    current: Current, target: Target, facts: Facts, unused: frozenset[str], *, busy: bool
) -> Iterator[Step]:
    """Yield what can go now. Images wait until nothing else is to be done, unless the disk is full."""
    services = [service for app in target.apps for service in app.services]
    yield from _networks(current, services)
    yield from _volumes(current, services, target, facts)
    if not target.options.keep_images and (facts.disk_is_full or not busy):
        yield from (RemoveImage(image, why="nothing needs it") for image in sorted(unused))


def unused_images(current: Current, target: Target, facts: Facts) -> frozenset[str]:
    """Return the images of ours that nothing needs.

    The last good release of a service keeps its image, so that there is a way back, while there is room.
    """
    needed = {service.config.image for app in target.apps for service in app.services}
    needed |= {one.config.image for one in current.containers}
    if not facts.disk_is_full:
        wanted = {service.key for app in target.apps for service in app.services}
        needed |= {config.image for key, config in facts.last_good.items() if key in wanted}
    kept = {canonical(image) for image in needed}
    return frozenset(image for image in facts.fetched & current.images if canonical(image) not in kept)


def _networks(current: Current, services: list[Service]) -> Iterator[Step]:
    needed = {Named(service.key.app_id, name) for service in services for name in service.config.networks}
    needed |= {Named(one.key.app_id, name) for one in current.containers for name in one.config.networks}
    for network in sorted(current.networks - needed):
        yield RemoveNetwork(network, why="no service is in it")


def _volumes(current: Current, services: list[Service], target: Target, facts: Facts) -> Iterator[Step]:
    in_use = {Named(one.key.app_id, name) for one in current.containers for name in one.config.volumes}
    wanted = {Named(service.key.app_id, name) for service in services for name in service.config.volumes}
    for volume, made_at in sorted(current.volumes.items()):
        asked_at = facts.purged_at.get(volume.app_id)
        if volume in in_use:
            continue
        if asked_at is not None and made_at <= asked_at:
            yield RemoveVolume(volume, why="its data was to go")
        elif volume not in wanted and not target.options.keep_volumes:
            yield RemoveVolume(volume, why="no service uses it")
