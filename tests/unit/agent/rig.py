"""An agent's mind on a simulated device, without asyncio: plans, and carries steps out as far as it is told to."""

from collections.abc import Iterator
from copy import deepcopy

from iotistic.agent.engines.simulated.world import Behaviour, World
from iotistic.agent.reconcile.record import Record
from iotistic.kernel.errors import IotisticError
from iotistic.planning import steps
from iotistic.planning.model import Health, Named, Release, ServiceState, Status, Strategy, Target
from iotistic.planning.planner import plan
from iotistic.planning.services import has_finished
from iotistic.planning.steps import DISRUPTIVE, Action, Noop, Step


class Rig:
    """`behaviours` may be changed at any time."""

    def __init__(self) -> None:
        self.behaviours: dict[str, Behaviour] = {}
        self.world = World(self.behaviours)
        self.record = Record()
        self.target = Target()
        self.locked: set[str] = set()
        self.purged = False

    def retarget(self, target: Target) -> None:
        self.target = target
        self.record.retarget(target)

    def plan(self) -> list[Step]:
        now = self.world.now
        current = self.record.seen(self.world.observe(), now)
        facts = self.record.facts(now, locked=self.locked, disk_is_full=False, shares_ports=False)
        return plan(current, self.target, facts)

    def actions(self) -> list[Action]:
        return [step for step in self.plan() if not isinstance(step, Noop)]

    def round(self) -> list[Action]:
        """Carry out a whole round without a failure of ours."""
        actions = self.actions()
        for step in actions:
            self.carry_out(step)
        return actions

    def carry_out(self, step: Action) -> None:
        try:
            for _ in self.parts(step):
                pass
        except IotisticError as exc:
            self.record.failed(step, self.world.now, str(exc))
        else:
            self.record.done(step)

    def parts(self, step: Action) -> Iterator[None]:  # noqa: C901, PLR0912  one arm for each kind of step
        """Carry a step out, stopping between the calls of the engine that it takes."""
        self.check_allowed(step)
        self.record.begun(step)
        world = self.world
        match step:
            case steps.Fetch(image):
                world.fetch(image)
            case steps.Start(service, container_id):
                made = container_id or world.create(service)
                yield
                world.start(made)
            case steps.Stop(container_id=container_id):
                world.stop(container_id)
            case steps.Kill(container_id=container_id):
                world.stop(container_id)
                yield
                world.remove(container_id)
            case steps.Remove(container_id=container_id):
                world.remove(container_id)
            case steps.Pause(container_id=container_id):
                world.pause(container_id)
            case steps.Unpause(container_id=container_id):
                world.unpause(container_id)
            case steps.UpdateMetadata():
                world.update(step.container_id, step.name, step.config)
            case steps.CreateNetwork(network):
                world.networks.add(network)
            case steps.RemoveNetwork(network):
                world.remove_network(network)
            case steps.CreateVolume(volume):
                world.create_volume(volume)
            case steps.RemoveVolume(volume):
                world.remove_volume(volume)
            case steps.RemoveImage(image):
                world.remove_image(image)
            case steps.TakeLock() | steps.ReleaseLock():
                pass

    def check_allowed(self, step: Action) -> None:
        """What must never happen, whatever came before."""
        if isinstance(step, DISRUPTIVE) and not self.target.options.force:
            assert step.key.app_id in self.record.held
        if isinstance(step, steps.RemoveVolume):
            assert self.purged or not self.target.options.keep_volumes
        if isinstance(step, steps.Kill):
            self._check_kill(step)

    def _check_kill(self, step: steps.Kill) -> None:
        service = next((one for app in self.target.apps for one in app.services if one.key == step.key), None)
        if (
            service is None
            or service.state is ServiceState.STOPPED
            or step.key.app_id in self.record.purged_at
        ):
            return
        if service.config.strategy in (Strategy.DOWNLOAD_THEN_KILL, Strategy.HAND_OVER):
            last = self.record.last_good.get(service.key)
            others = [
                one
                for one in self.world.containers.values()
                if one.key == step.key and one.id != step.container_id and one.is_up
            ]
            images = {service.config.image} | ({last.image} if last else set())
            assert others or images & self.world.images, (
                "a service is taken down for an image that is not there"
            )

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and note what fell."""
        before = {one.id: one for one in self.world.containers.values() if one.status is Status.RUNNING}
        self.world.pass_time(self.world.now + seconds)
        for one in self.world.containers.values():
            if one.id in before and one.status is Status.EXITED:
                self.record.crashed(Release(one.key, one.config), self.world.now, f"exit {one.exit_code}")

    def crash(self) -> None:
        """The agent dies; what it keeps on disk outlives it."""
        kept = deepcopy(self.record)
        kept.failures.clear()
        self.record = kept

    def settle(self, rounds: int) -> int:
        """Work until nothing is left to be done now, letting time pass for what waits; return the rounds."""
        for count in range(rounds):
            planned = self.plan()
            actions = [step for step in planned if not isinstance(step, Noop)]
            waits = [step.until for step in planned if isinstance(step, Noop) and step.until is not None]
            if not actions and not waits:
                return count
            for step in actions:
                self.carry_out(step)
            self.pass_time(max(1.0, min(waits) - self.world.now) if waits and not actions else 1.0)
        raise AssertionError(f"not settled after {rounds} rounds: {self.plan()}")

    def unmet(self) -> list[str]:
        """Return what is not as the target says."""
        found: list[str] = []
        known = set()
        for app in self.target.apps:
            for service in app.services:
                known.add(service.key)
                mine = [one for one in self.world.containers.values() if one.key == service.key]
                if service.state is ServiceState.STOPPED:
                    found += [f"{service.name} is {one.status}" for one in mine if one.is_up]
                elif len(mine) != 1:
                    found.append(f"{service.name} has {len(mine)} containers")
                elif mine[0].config != service.config:
                    found.append(f"{service.name} has another configuration")
                elif mine[0].status.value != service.state.value and not has_finished(
                    mine[0], service.config.restart
                ):
                    found.append(f"{service.name} is {mine[0].status}")
                elif mine[0].health is Health.FAILED:
                    found.append(f"{service.name} is ill")
        found += [f"{one.name} is left" for one in self.world.containers.values() if one.key not in known]
        needed = {
            Named(a.id, name) for a in self.target.apps for s in a.services for name in s.config.networks
        }
        needed |= {Named(o.key.app_id, n) for o in self.world.containers.values() for n in o.config.networks}
        found += [f"network {network.name} is left" for network in self.world.networks - needed]
        return found
