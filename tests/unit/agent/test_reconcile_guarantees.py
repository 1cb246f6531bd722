"""What holds whatever happens: targets change, calls fail in the middle, people interfere, the agent dies."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.agent.rig import Rig

from iotistic.agent.engines.simulated.world import Behaviour
from iotistic.planning.model import (
    App,
    Mount,
    Options,
    Port,
    Resources,
    Restart,
    Service,
    ServiceConfig,
    ServiceKey,
    ServiceState,
    Status,
    Strategy,
    Target,
)

IMAGES = ["web:1", "web:2", "db:1", "db:2"]
_ROUNDS = 60

configs = st.builds(
    ServiceConfig,
    st.sampled_from(IMAGES),
    environment=st.sampled_from([frozenset(), frozenset({("A", "1")})]),
    ports=st.sampled_from([frozenset(), frozenset({Port(80, 80)}), frozenset({Port(81, 80)})]),
    mounts=st.sampled_from([frozenset(), frozenset({Mount("data", "/d")})]),
    networks=st.sampled_from([frozenset(), frozenset({"back"}), frozenset({"back", "front"})]),
    restart=st.sampled_from([Restart.ALWAYS, Restart.UNLESS_STOPPED, Restart.NO]),
    resources=st.sampled_from([Resources(), Resources(memory_limit=1 << 26)]),
    strategy=st.sampled_from(Strategy),
)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    apps = []
    for app_id in draw(st.lists(st.sampled_from(["1", "2"]), unique=True, max_size=2)):
        names = draw(st.lists(st.sampled_from(["a", "b", "c"]), unique=True, max_size=3))
        services = [
            Service(ServiceKey(app_id, name), name, draw(configs), draw(st.sampled_from(ServiceState)))
            for name in names
        ]
        apps.append(App(app_id, f"app{app_id}", tuple(services), draw(st.booleans())))
    options = Options(keep_images=draw(st.booleans()), force=draw(st.booleans()))
    return Target(_without_port_clashes(apps), options)


def _without_port_clashes(apps: list[App]) -> tuple[App, ...]:
    """Two services that want one port of the device can never both run."""
    taken: set[Port] = set()
    result = []
    for app in apps:
        services = [
            one for one in app.services if not (one.config.ports & taken or taken.update(one.config.ports))
        ]
        result.append(App(app.id, app.name, tuple(services), app.rolling))
    return tuple(result)


class Device(RuleBasedStateMachine):
    """Checks on each step that nothing forbidden is done (see Rig), and at the end that all comes right."""

    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig()

    @rule(wanted=targets())
    def declare(self, wanted: Target) -> None:
        self.rig.retarget(wanted)

    @rule()
    def work(self) -> None:
        self.rig.round()

    @rule(data=st.data())
    def die_in_the_middle(self, data: st.DataObject) -> None:
        for step in self.rig.actions():
            fate = data.draw(st.sampled_from(["done", "failed", "cut short", "done and not noted"]))
            if fate == "done":
                self.rig.carry_out(step)
            elif fate == "failed":
                self.rig.record.failed(step, self.rig.world.now, "it was to fail")
            else:
                self._begin(step, whole=fate == "done and not noted")
                break
        self.rig.crash()

    def _begin(self, step: object, *, whole: bool) -> None:
        try:
            for _ in self.rig.parts(step):
                if not whole:
                    break
        except Exception as exc:  # noqa: BLE001
            assert not isinstance(exc, AssertionError), exc  # noqa: PT017

    @rule(seconds=st.sampled_from([1.0, 30.0, 400.0]))
    def pass_time(self, seconds: float) -> None:
        self.rig.pass_time(seconds)

    @rule(image=st.sampled_from(IMAGES), missing=st.booleans(), crashes=st.booleans())
    def change_an_image(self, image: str, missing: bool, crashes: bool) -> None:
        self.rig.behaviours[image] = Behaviour(missing=missing, ends_after_s=2.0 if crashes else None)

    @precondition(lambda self: self.rig.world.containers)
    @rule(data=st.data(), what=st.sampled_from(["stop", "remove", "pause", "dead"]))
    def interfere(self, data: st.DataObject, what: str) -> None:
        world = self.rig.world
        one = data.draw(st.sampled_from(sorted(world.containers.values(), key=lambda found: found.id)))
        if what == "pause":
            if one.status is Status.RUNNING:
                world.pause(one.id)
            return
        world.stop(one.id)
        if what == "remove":
            world.remove(one.id)

    @rule(app_id=st.sampled_from(["1", "2"]))
    def lock(self, app_id: str) -> None:
        if app_id not in self.rig.record.held:
            self.rig.locked.add(app_id)

    @rule(app_id=st.sampled_from(["1", "2"]))
    def unlock(self, app_id: str) -> None:
        self.rig.locked.discard(app_id)

    @invariant()
    def volumes_of_services_are_still_there(self) -> None:
        for one in self.rig.world.containers.values():
            assert all((one.key.app_id, name) in self.rig.world.volumes for name in one.config.volumes)

    def teardown(self) -> None:
        rig = self.rig
        rig.behaviours.clear()
        rig.locked.clear()
        # As a deployment anew does: what failed before does not count any more.
        rig.retarget(rig.target)
        rig.record.crashes.clear()
        rig.settle(_ROUNDS)
        assert rig.unmet() == []
        rig.pass_time(100)  # now what runs is good, and the image of the release before may go
        rig.settle(_ROUNDS)
        before = rig.world.observe()
        for _ in range(20):
            rig.pass_time(100)
            assert rig.round() == []
        assert rig.world.observe() == before


Device.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestDevice = Device.TestCase


@given(targets())
@settings(max_examples=15, deadline=None)
def test_a_settled_device_stays_settled_for_a_thousand_rounds(target: Target) -> None:
    rig = Rig()
    rig.retarget(target)
    rig.settle(_ROUNDS)
    before = rig.world.observe()
    for _ in range(1000):
        rig.pass_time(30)
        assert rig.round() == []
    assert rig.world.observe() == before


@given(targets(), targets())
@settings(max_examples=100, deadline=None)
def test_what_cannot_be_reached_says_why(first: Target, second: Target) -> None:
    rig = Rig()
    rig.retarget(first)
    rig.settle(_ROUNDS)
    rig.behaviours.update({image: Behaviour(missing=True) for image in IMAGES})
    rig.locked = {"1"} - rig.record.held
    rig.retarget(second)
    for _ in range(12):
        rig.round()
        rig.pass_time(1)

    assert not rig.unmet() or rig.plan()
