"""Whatever is asked for, declared and killed in whatever order: what is wanted is what a simple model says."""

import asyncio
import time
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from iotistic.agent.operations.operations import Operations, Verb
from iotistic.agent.operations.room import Room
from iotistic.agent.reconcile.reconciler import Standing
from iotistic.agent.reconcile.record import Record
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.planning.model import App, Service, ServiceConfig, ServiceKey, ServiceState, Target

STATES = {
    Verb.START: ServiceState.RUNNING,
    Verb.STOP: ServiceState.STOPPED,
    Verb.PAUSE: ServiceState.PAUSED,
    Verb.RESTART: ServiceState.RUNNING,
}


@dataclass
class Loop:
    standing: Standing = field(default_factory=Standing)
    target: Target = field(default_factory=Target)

    def declare(self, target):
        self.target = target

    def look(self):
        pass


class Disk:
    def __init__(self):
        self.values, self.is_full = {}, False

    async def load(self):
        return dict(self.values)

    async def put(self, name, value):
        if self.is_full:
            raise StoreUnavailable
        self.values[name] = value


class NoLocks:
    def locked(self):
        return frozenset()


def app(app_id, number):
    """One of a few versions of an app: other images, other states."""
    states = list(ServiceState)
    services = tuple(
        Service(
            ServiceKey(app_id, name),
            f"{app_id}{name}",
            ServiceConfig(f"{name}:{number}"),
            states[number],
        )
        for name in "ab"
    )
    return App(app_id, f"app{app_id}", services)


targets = st.dictionaries(st.sampled_from("12"), st.integers(0, 1), max_size=2)
services = st.tuples(st.sampled_from("12"), st.sampled_from("ab"))
steps = st.one_of(
    st.tuples(st.just("declare"), targets),
    st.tuples(st.just("service"), services, st.sampled_from(Verb)),
    st.tuples(st.just("app"), st.sampled_from("12"), st.sampled_from(Verb)),
    st.tuples(st.just("full"), services, st.sampled_from(Verb)),
    st.tuples(st.just("kill")),
)


class Model:
    def __init__(self):
        self.versions, self.wished = {}, {}

    def declare(self, versions):
        self.wished = {
            key: state
            for key, state in self.wished.items()
            if key[0] in versions and self.versions.get(key[0]) == versions[key[0]]
        }
        self.versions = versions

    def ask(self, keys, verb):
        wanted = self.states()
        for key in keys:
            if verb is Verb.RESTART and len(keys) > 1:
                self.wished[key] = wanted[key]
            else:
                self.wished[key] = STATES[verb]

    def states(self):
        base = {
            one.key: one.state
            for app_id, number in self.versions.items()
            for one in app(app_id, number).services
        }
        return base | {ServiceKey(*key): state for key, state in self.wished.items()}


class Device:
    def __init__(self):
        self.disk, self.model = Disk(), Model()

    async def start(self):
        self.loop = Loop()
        room = Room(self.loop, Record(), self.disk, NoLocks(), self._save, time.time)
        self.operations = await Operations.open(room)
        self.declare(self.model.versions)
        self.task = asyncio.create_task(self.operations.run())

    async def stop(self):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _save(self, _record):
        pass

    def declare(self, versions):
        self.operations.declare(
            Target(tuple(app(app_id, number) for app_id, number in sorted(versions.items())))
        )

    async def step(self, kind, *rest):
        if kind == "declare":
            self.declare(rest[0])
            self.model.declare(rest[0])
        elif kind == "kill":
            await self.stop()
            await self.start()
        elif kind == "app":
            await self._ask([(rest[0], name) for name in "ab"], rest[1])
        else:
            self.disk.is_full = kind == "full"
            await self._ask([rest[0]], rest[1])
            self.disk.is_full = False

    async def _ask(self, keys, verb):
        app_id = keys[0][0]
        if app_id not in self.model.versions:
            return
        before = dict(self.operations.wishes)
        try:
            if len(keys) > 1:
                await self.operations.app(verb, app_id)
            else:
                await self.operations.service(verb, keys[0][1], app=app_id)
        except StoreUnavailable:
            assert self.operations.wishes == before
        else:
            self.model.ask(keys, verb)


async def act(script):
    device = Device()
    await device.start()
    try:
        for step in script:
            await device.step(*step)
            wanted = {one.key: one.state for found in device.loop.target.apps for one in found.services}
            assert wanted == device.model.states(), step
    finally:
        await device.stop()


OVERTAKEN_AND_BACK = [
    ("declare", {"1": 0}),
    ("service", ("1", "a"), Verb.STOP),
    ("declare", {"1": 1}),
    ("declare", {"1": 0}),
    ("kill",),
]


@given(st.lists(steps, max_size=20))
@example(OVERTAKEN_AND_BACK)
@settings(max_examples=300, deadline=None)
def test_what_is_wanted_is_what_the_model_says(script):
    asyncio.run(act(script))
