"""The containers whose logs are read: those that the reconciler sees, under the names of their services."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from iotistic.agent.reconcile.reconciler import Standing
from iotistic.planning.model import Container, Target


class Sees(Protocol):
    """Sees containers, and knows what they are for."""

    @property
    def target(self) -> Target:
        """What was declared last."""
        ...

    @property
    def standing(self) -> Standing:
        """How far the device is."""
        ...


class Watched:
    """What a reconciler sees now. The second container of a hand-over has no name of its own yet: it gets its service's."""

    def __init__(self, reconciler: Sees) -> None:
        self._reconciler = reconciler

    def __call__(self) -> Iterable[Container]:
        """Return them."""
        names = {
            service.key: service.name for app in self._reconciler.target.apps for service in app.services
        }
        for one in self._reconciler.standing.current.containers:
            name = names.get(one.key, one.name)
            yield one if name == one.name else replace(one, name=name)
