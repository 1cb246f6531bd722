"""Wishes of people on the device, on top of the target."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.operations.wishes import Wish, apply, in_force, read_wishes, version_of, write_wishes
from iotistic.planning.model import App, Options, Service, ServiceConfig, ServiceKey, ServiceState, Target

configs = st.builds(
    ServiceConfig,
    st.sampled_from(["web:1", "web:2"]),
    environment=st.sampled_from([frozenset(), frozenset({("A", "1"), ("B", "2")})]),
)


@st.composite
def apps(draw, app_id):
    names = draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=3))
    services = [
        Service(ServiceKey(app_id, name), name, draw(configs), draw(st.sampled_from(ServiceState)))
        for name in names
    ]
    return App(app_id, draw(st.sampled_from(["shop", "farm"])), tuple(services), draw(st.booleans()))


@st.composite
def targets(draw):
    ids = draw(st.lists(st.sampled_from(["1", "2", "3"]), unique=True, max_size=3))
    return Target(tuple(draw(apps(app_id)) for app_id in ids), Options(force=draw(st.booleans())))


@st.composite
def wished(draw):
    """A target, and wishes that were made at it."""
    target = draw(targets())
    services = [(app, one) for app in target.apps for one in app.services]
    chosen = draw(st.lists(st.sampled_from(services), unique=True)) if services else []
    made = {
        one.key: Wish(draw(st.sampled_from(ServiceState)), version_of(app), draw(st.booleans()))
        for app, one in chosen
    }
    return target, made


def states(target):
    return {one.key: one.state for app in target.apps for one in app.services}


def without_states(target):
    return replace(
        target,
        apps=tuple(
            replace(app, services=tuple(replace(one, state=ServiceState.RUNNING) for one in app.services))
            for app in target.apps
        ),
    )


@given(targets())
def test_without_wishes_the_target_stays_as_it_is(target):
    assert apply(target, {}) is target


@given(wished())
def test_a_wish_changes_the_state_of_its_service_and_nothing_else(case):
    target, wishes = case
    applied = apply(target, wishes)

    assert without_states(applied) == without_states(target)
    assert states(applied) == states(target) | {key: wish.in_effect for key, wish in wishes.items()}


@given(wished(), targets())
def test_a_newer_target_wins_in_every_app_that_it_changes(case, newer):
    before, wishes = case
    applied = apply(newer, wishes)
    same = {app.id for app in newer.apps if app in before.apps}

    for app, found in zip(newer.apps, applied.apps, strict=True):
        expected = {one.key: wishes[one.key].in_effect for one in app.services if one.key in wishes}
        expected = expected if app.id in same else {}
        assert {one.key: one.state for one in found.services} == {
            one.key: one.state for one in app.services
        } | expected


@given(wished(), targets())
def test_a_wish_that_was_overtaken_does_not_come_back_with_the_older_target(case, newer):
    before, wishes = case
    left = in_force(before, in_force(newer, wishes))

    assert left.keys() <= {
        key for key in wishes if any(app in before.apps and app.id == key.app_id for app in newer.apps)
    }


@given(wished())
def test_wishes_are_read_as_they_were_written(case):
    _, wishes = case

    assert read_wishes(write_wishes(wishes)) == wishes


@given(targets())
def test_the_version_of_an_app_does_not_depend_on_the_order_of_its_services(target):
    for app in target.apps:
        turned = replace(app, services=tuple(reversed(app.services)))
        assert version_of(turned) == version_of(app)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_garbage_on_the_disk_is_no_wish(kept):
    assert read_wishes(kept) == {}
    assert read_wishes([kept]) == {}
