"""Steps become calls of an engine. Each is safe to repeat after it was cut short anywhere."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from iotistic.agent.engines.port import Engine, Progress
from iotistic.kernel.errors import Unavailable
from iotistic.planning import steps
from iotistic.planning.steps import Action


class Locks(Protocol):
    """The locks of apps."""

    async def take(self, app_id: str) -> None:
        """Take an app's lock. Raises Conflict when the app was faster."""
        ...

    async def release(self, app_id: str) -> None:
        """Give it back."""
        ...


class StepTookTooLong(Unavailable):
    """The step did not end within its time."""

    code = "reconcile.step_took_too_long"


class Executor:
    """Carries out one step at a time for whoever calls; several may be under way."""

    def __init__(
        self, engine: Engine, locks: Locks, tell: Callable[[str, Progress], None] = lambda _image, _done: None
    ) -> None:
        self._engine, self._locks, self._tell = engine, locks, tell

    async def carry_out(self, step: Action) -> None:
        """Bring about what a step says. Raises StepTookTooLong, and what the engine raises."""
        deadline_s = steps.deadline_s(step)
        try:
            async with asyncio.timeout(deadline_s):
                await self._carry_out(step)
        except TimeoutError as exc:
            raise StepTookTooLong(f"took longer than {deadline_s:.0f} s") from exc

    async def _carry_out(self, step: Action) -> None:  # noqa: C901, PLR0912  one arm for each kind of step
        engine = self._engine
        match step:
            case steps.Fetch(image):
                await engine.fetch(image, lambda progress: self._tell(image, progress))
            case steps.Start(service, container_id):
                await engine.start(container_id or await engine.create(service))
            case steps.Stop(_, container_id, within_s):
                await engine.stop(container_id, within_s)
            case steps.Kill(_, container_id, within_s):
                await engine.stop(container_id, within_s)
                await engine.remove(container_id)
            case steps.Remove(_, container_id):
                await engine.remove(container_id)
            case steps.Pause(_, container_id):
                await engine.pause(container_id)
            case steps.Unpause(_, container_id):
                await engine.unpause(container_id)
            case steps.UpdateMetadata(_, container_id, name, config):
                await engine.update(container_id, name, config)
            case steps.CreateNetwork(network):
                await engine.create_network(network)
            case steps.RemoveNetwork(network):
                await engine.remove_network(network)
            case steps.CreateVolume(volume):
                await engine.create_volume(volume)
            case steps.RemoveVolume(volume):
                await engine.remove_volume(volume)
            case steps.RemoveImage(image):
                await engine.remove_image(image)
            case steps.TakeLock(app_id):
                await self._locks.take(app_id)
            case steps.ReleaseLock(app_id):
                await self._locks.release(app_id)
