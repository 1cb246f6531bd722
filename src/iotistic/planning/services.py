"""What to do next about one service, given its containers.

                 wanted running            wanted paused             wanted stopped
    no container fetch, then start         fetch, then start         nothing
    created      start                     start                     nothing
    running      nothing                   pause                     stop
    paused       unpause                   nothing                   stop
    exited       start, unless finished    start, unless finished    nothing
    restarting   wait                      wait                      stop
    dead         remove                    remove                    remove

A container of another configuration is replaced in the way that its strategy says, and left alone while
the service is wanted stopped. More containers than one are of a hand-over, or of a crash in the middle.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from iotistic.planning.comparing import live_changes, reasons_to_remake
from iotistic.planning.facts import Facts, again_at, is_put_off
from iotistic.planning.images import repository_of
from iotistic.planning.model import (
    Container,
    Current,
    Health,
    Named,
    Options,
    Release,
    Restart,
    Service,
    ServiceState,
    Status,
    Strategy,
)
from iotistic.planning.steps import (
    Fetch,
    Kill,
    Noop,
    Pause,
    Remove,
    RemoveImage,
    Start,
    Step,
    Stop,
    Unpause,
    UpdateMetadata,
)

FALL_BACK_AFTER = 5
FETCHES_BEFORE_FALLING_BACK = 3
UPDATES_BEFORE_REMAKING = 3
_BEST_FIRST = (
    Status.RUNNING,
    Status.PAUSED,
    Status.RESTARTING,
    Status.CREATED,
    Status.EXITED,
    Status.REMOVING,
    Status.DEAD,
)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything but the service."""

    current: Current
    facts: Facts
    options: Options
    unused_images: frozenset[str] = frozenset()
    """Images of ours that no container and no target needs."""

    def has_what_it_needs(self, service: Service) -> bool:
        """Whether networks and volumes of a service are there."""
        app_id, config = service.key.app_id, service.config
        return all(Named(app_id, name) in self.current.networks for name in config.networks) and all(
            Named(app_id, name) in self.current.volumes for name in config.volumes
        )


def plan_service(service: Service, containers: Sequence[Container], situation: Situation) -> Iterator[Step]:
    """Yield the next steps for a service; none when it is as it is wanted."""
    living = sorted(containers, key=lambda one: (_BEST_FIRST.index(one.status), -one.started_at, one.id))
    leaving = [one for one in living if one.status in (Status.DEAD, Status.REMOVING)]
    living = [one for one in living if one not in leaving]
    yield from _see_off(leaving, service)
    if service.state is ServiceState.STOPPED:
        yield from _stop(living)
        return
    if leaving and not living:
        return  # another container would want the same name
    wanted, notes = _in_effect(service, situation)
    yield from notes
    fresh = [one for one in living if not _reasons(one, wanted, situation)]
    stale = [one for one in living if one not in fresh]
    if not stale:
        yield from _keep(fresh[0], wanted, situation) if fresh else _make(wanted, situation)
    elif not fresh:
        yield from _replace(stale, wanted, situation)
    else:
        yield from _take_over(fresh[0], stale, wanted, situation)
    yield from _end(fresh[1:], "another container of this service does its work")


def end_container(container: Container, why: str) -> Step | None:
    """Return the step that makes an end of a container, whatever state it is in."""
    if container.is_up:
        return Kill(container.key, container.id, container.config.stop_timeout_s, why=why)
    if container.status is Status.REMOVING:
        return None
    return Remove(container.key, container.id, why=why)


def _in_effect(service: Service, situation: Situation) -> tuple[Service, list[Step]]:
    """Return the service as it is to run, which is its last good release when the wanted one does not."""
    facts = situation.facts
    last = facts.last_good.get(service.key)
    if not situation.options.fall_back or last is None or not reasons_to_remake(last, service.config):
        return service, []
    before = replace(service, config=last)
    release = Release(service.key, service.config)
    subject = f"service {service.name}"
    crashed = facts.crashes.get(release)
    if crashed is not None and crashed.count >= FALL_BACK_AFTER:
        why = f"runs its last good release: {service.config.image} ended {crashed.count} times"
        return before, [Noop(subject, f"{why} ({crashed.reason})" if crashed.reason else why)]
    if (failed := facts.starts_failed(release)) >= FALL_BACK_AFTER:
        why = f"runs its last good release: {service.config.image} could not be started {failed} times"
        return before, [Noop(subject, why)]
    return _meanwhile(service, before, situation)


def _meanwhile(service: Service, before: Service, situation: Situation) -> tuple[Service, list[Step]]:
    """Run the release before while the image of a service that was killed first cannot be had."""
    fetch = _fetch(service)
    failed = situation.facts.failures.get(fetch)
    images = situation.current.images
    if (
        service.config.strategy is Strategy.KILL_THEN_DOWNLOAD
        and failed is not None
        and failed.count >= FETCHES_BEFORE_FALLING_BACK
        and service.config.image not in images
        and before.config.image in images
    ):
        why = f"runs its last good release until {service.config.image} can be fetched"
        return before, [fetch, Noop(f"service {service.name}", why)]
    return service, []


def _reasons(container: Container, wanted: Service, situation: Situation) -> tuple[str, ...]:
    """Return why a container cannot stay."""
    reasons = reasons_to_remake(container.config, wanted.config)
    if not reasons and (changes := live_changes(container, wanted)):
        failed = situation.facts.failures.get(_update(container, wanted, ""))
        if failed is not None and failed.count >= UPDATES_BEFORE_REMAKING:
            return changes
    return reasons


def _see_off(leaving: Sequence[Container], service: Service) -> Iterator[Step]:
    for one in leaving:
        if one.status is Status.DEAD:
            yield Remove(one.key, one.id, why="the engine calls it dead")
        else:
            yield Noop(f"service {service.name}", "the engine is removing its container")


def _stop(containers: Sequence[Container]) -> Iterator[Step]:
    for one in containers:
        if one.is_up:
            yield Stop(one.key, one.id, one.config.stop_timeout_s, why="it is wanted stopped")
    if not any(one.is_up for one in containers):
        yield from _end(containers[1:], "a stopped service keeps one container")


def _make(wanted: Service, situation: Situation) -> Iterator[Step]:
    image = wanted.config.image
    if image not in situation.current.images:
        yield from _get(wanted, situation)
    elif situation.has_what_it_needs(wanted):
        yield Start(wanted, why="there is no container")


def _get(wanted: Service, situation: Situation) -> Iterator[Step]:
    """Get the image; where disk is only for one, after the one before is gone."""
    if wanted.config.strategy is Strategy.DELETE_THEN_DOWNLOAD and not situation.options.keep_images:
        repository = repository_of(wanted.config.image)
        before = sorted(one for one in situation.unused_images if repository_of(one) == repository)
        if before:
            yield from (RemoveImage(one, why=f"makes room for {wanted.config.image}") for one in before)
            return
    yield _fetch(wanted)


def _fetch(service: Service) -> Fetch:
    return Fetch(service.config.image, why=f"{service.name} needs it")


def _keep(container: Container, wanted: Service, situation: Situation) -> Iterator[Step]:
    """Bring a container of the right configuration into the right state."""
    paused = wanted.state is ServiceState.PAUSED
    subject = f"service {wanted.name}"
    match container.status:
        case Status.RUNNING if container.health is Health.FAILED:
            within_s = container.config.stop_timeout_s
            yield Stop(container.key, container.id, within_s, why="its liveness probe failed")
        case Status.RUNNING if paused:
            yield Pause(container.key, container.id, why="it is wanted paused")
        case Status.PAUSED if not paused:
            yield Unpause(container.key, container.id, why="it is wanted running")
        case Status.CREATED:
            yield Start(wanted, container.id, why="it was made and never started")
        case Status.EXITED:
            yield from _start_again(container, wanted, situation)
        case Status.RESTARTING:
            yield Noop(subject, "the engine starts it again and again")
        case _:
            if changes := live_changes(container, wanted):
                yield _update(container, wanted, f"changed: {', '.join(changes)}")


def _update(container: Container, wanted: Service, why: str) -> UpdateMetadata:
    return UpdateMetadata(container.key, container.id, wanted.name, wanted.config, why=why)


def _start_again(container: Container, wanted: Service, situation: Situation) -> Iterator[Step]:
    if has_finished(container, wanted.config.restart):
        return
    crashed = situation.facts.crashes.get(Release(wanted.key, wanted.config))
    if crashed is not None and is_put_off(crashed, situation.facts.now):
        times = "once" if crashed.count == 1 else f"{crashed.count} times"
        why = f"ended {times} by itself, last with {container.exit_code}, and waits before the next start"
        yield Noop(f"service {wanted.name}", why, again_at(crashed))
        return
    yield Start(wanted, container.id, why="it has ended")


def has_finished(container: Container, restart: Restart) -> bool:
    """Say whether a container that ended has done what it was for."""
    if container.stopped_by_us or container.status is not Status.EXITED:
        return False
    return restart is Restart.NO or (restart is Restart.ON_FAILURE and container.exit_code == 0)


def _replace(stale: Sequence[Container], wanted: Service, situation: Situation) -> Iterator[Step]:
    """Make room for a container of another configuration."""
    strategy = wanted.config.strategy
    why = f"changed: {', '.join(_reasons(stale[0], wanted, situation))}"
    if strategy in (Strategy.KILL_THEN_DOWNLOAD, Strategy.DELETE_THEN_DOWNLOAD):
        yield from _end(stale, why)
    elif wanted.config.image not in situation.current.images:
        yield _fetch(wanted)
    elif not situation.has_what_it_needs(wanted):
        return
    elif strategy is Strategy.HAND_OVER and any(one.is_up for one in stale):
        if _can_stand_beside(stale, wanted, situation):
            yield Start(wanted, why=f"takes over: {why}")
        else:
            yield from _end(stale, f"{why}; both offer the same port, so one has to go first")
    else:
        yield from _end(stale, why)


def _can_stand_beside(stale: Sequence[Container], wanted: Service, situation: Situation) -> bool:
    return situation.facts.shares_ports or not any(
        mine.clashes(theirs)
        for one in stale
        if one.is_up
        for theirs in one.config.ports
        for mine in wanted.config.ports
    )


def _take_over(
    new: Container, stale: Sequence[Container], wanted: Service, situation: Situation
) -> Iterator[Step]:
    """End what a new container replaces, once it serves."""
    if wanted.config.strategy is not Strategy.HAND_OVER or not any(one.is_up for one in stale):
        yield from _end(stale, "it was replaced")
    elif not new.serves:
        if new.status is Status.RUNNING and new.health is not Health.FAILED:
            yield Noop(f"service {wanted.name}", "the new container is not ready; the one before serves")
        else:
            yield from _keep(new, replace(wanted, state=ServiceState.RUNNING), situation)
    elif new.health is Health.READY or situation.facts.now >= new.started_at + wanted.config.handover_s:
        yield from _end(stale, "another container has taken over")
    else:
        until = new.started_at + wanted.config.handover_s
        yield Noop(f"service {wanted.name}", "both containers run for a while", until)


def _end(containers: Sequence[Container], why: str) -> Iterator[Step]:
    for one in containers:
        if (step := end_container(one, why)) is not None:
            yield step
