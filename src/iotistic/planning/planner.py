"""The plan: what to do next so that a device becomes what it is to be.

    (current, target, facts) -> steps        again after each round; no step is left when it is settled

All steps of a round are independent of each other: those that need another one done come in a later round.
Whoever executes a plan also stops what is under way and is not in it any more, so a newer target wins at
once. The order of the result is stable, and nothing in it depends on the order of the input.
"""

from collections.abc import Iterable, Iterator

from iotistic.planning.cleaning import clean, unused_images
from iotistic.planning.facts import Facts, again_at, is_put_off
from iotistic.planning.model import App, Container, Current, Named, Service, ServiceState, Target
from iotistic.planning.services import Situation, end_container, has_finished, plan_service
from iotistic.planning.steps import (
    DISRUPTIVE,
    Action,
    CreateNetwork,
    CreateVolume,
    Fetch,
    Noop,
    ReleaseLock,
    RemoveImage,
    Start,
    Step,
    TakeLock,
    name_of,
    subject_of,
)

Names = dict[str, str]


def plan(current: Current, target: Target, facts: Facts) -> list[Step]:
    """Return the steps of the next round; only Noops, or nothing, means that there is nothing to do now."""
    unused = unused_images(current, target, facts)
    situation = Situation(current, facts, target.options, unused)
    apps = {app.id: app for app in target.apps}
    steps: list[Step] = []
    for app_id in sorted(apps.keys() | {one.key.app_id for one in current.containers} | facts.held):
        app = apps.get(app_id) or App(app_id, app_id)
        steps += _plan_app(app, situation)
    steps += _waiting(clean(current, target, facts, unused, busy=any(map(_is_work, steps))), facts)
    return _once(steps)


def is_settled(steps: Iterable[Step]) -> bool:
    """Say whether a plan leaves nothing to be done now."""
    return all(isinstance(step, Noop) for step in steps)


def _plan_app(app: App, situation: Situation) -> list[Step]:
    facts = situation.facts
    containers = [one for one in situation.current.containers if one.key.app_id == app.id]
    if _is_purged(app, situation):
        steps = [step for one in containers if (step := end_container(one, "its data is to go"))]
        return _locked(app.id, _waiting(steps, facts), situation)
    steps = [*_waiting(_creations(app, situation), facts)]
    held_up_by = ""
    for service in app.services:
        mine = [one for one in containers if one.key == service.key]
        its = [*_waiting(plan_service(service, mine, situation), facts)]
        if app.rolling and held_up_by:
            its = [*_one_at_a_time(its, mine, held_up_by)]
        elif app.rolling and service.state is ServiceState.RUNNING and _is_in_transition(service, its, mine):
            held_up_by = service.name
        steps += its
    known = {service.key for service in app.services}
    for one in containers:
        if one.key not in known and (step := end_container(one, "it is not in the target")):
            steps += _waiting([step], facts)
    return _locked(app.id, steps, situation)


def _is_purged(app: App, situation: Situation) -> bool:
    """Whether volumes of this app are still to go."""
    asked_at = situation.facts.purged_at.get(app.id)
    return asked_at is not None and any(
        volume.app_id == app.id and made_at <= asked_at
        for volume, made_at in situation.current.volumes.items()
    )


def _creations(app: App, situation: Situation) -> Iterator[Step]:
    """Yield what services of an app need and is not there; a service that is to stand still needs nothing."""
    for service in app.services:
        if service.state is ServiceState.STOPPED:
            continue
        for name in sorted(service.config.networks):
            if (network := Named(app.id, name)) not in situation.current.networks:
                yield CreateNetwork(network, why=f"{service.name} is in it")
        for name in sorted(service.config.volumes):
            if (volume := Named(app.id, name)) not in situation.current.volumes:
                yield CreateVolume(volume, why=f"{service.name} uses it")


def _waiting(steps: Iterable[Step], facts: Facts) -> Iterator[Step]:
    """Put off what failed a short while ago."""
    for step in steps:
        failed = None if isinstance(step, Noop) else facts.failures.get(step)
        if isinstance(step, Noop) or failed is None or not is_put_off(failed, facts.now):
            yield step
        else:
            why = f"{name_of(step)} failed {_times(failed.count)}: {failed.reason}"
            yield Noop(subject_of(step), why, again_at(failed))


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _is_in_transition(service: Service, steps: Iterable[Step], containers: Iterable[Container]) -> bool:
    """Whether a service is being replaced, or does not serve."""
    working = any(not isinstance(step, Fetch | RemoveImage | Noop) for step in steps)
    restart = service.config.restart
    return working or not any(one.serves or has_finished(one, restart) for one in containers)


def _one_at_a_time(steps: Iterable[Step], containers: list[Container], held_up_by: str) -> Iterator[Step]:
    """Put off what disturbs a service while another one of its app is in transition."""
    up = any(one.is_up for one in containers)
    for step in steps:
        if isinstance(step, DISRUPTIVE) or (isinstance(step, Start) and up):
            yield Noop(subject_of(step), f"waits until {held_up_by} serves")
        else:
            yield step


def _locked(app_id: str, steps: Iterable[Step], situation: Situation) -> list[Step]:
    """Honour an app's lock: take it before the app is disturbed, give it back when that is over."""
    steps, facts = list(steps), situation.facts
    if not any(isinstance(step, DISRUPTIVE) for step in steps):
        if app_id in facts.held and not any(map(_is_work, steps)):
            steps += _waiting([ReleaseLock(app_id, why="nothing is left to be done")], facts)
        return steps
    if situation.options.force or app_id in facts.held:
        return steps
    undisturbing: list[Step] = [step for step in steps if not isinstance(step, DISRUPTIVE)]
    if app_id in facts.locked:
        return [*undisturbing, Noop(f"app {app_id}", "holds its lock and is not disturbed")]
    return [*undisturbing, *_waiting([TakeLock(app_id, why="it is to be changed")], facts)]


def _is_work(step: Step) -> bool:
    return not isinstance(step, Noop)


def _once(steps: Iterable[Step]) -> list[Step]:
    """Leave out what several services ask for."""
    return list(dict.fromkeys(steps))


__all__ = ["Action", "Step", "is_settled", "plan"]
