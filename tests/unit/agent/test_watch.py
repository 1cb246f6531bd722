"""What probes mean, as properties: any answers, in any order, at any time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.health.watch import Answer, Role, Turn, Watch, period_s
from iotistic.planning.model import Health, Probe, ProbeKind, Probes

GOOD, BAD, UNKNOWN = Answer.GOOD, Answer.BAD, Answer.UNKNOWN


def probe(**values):
    return Probe(ProbeKind.TCP, port=80, **values)


PROBES = st.builds(
    probe,
    initial_delay_s=st.sampled_from([0, 3, 20]),
    period_s=st.sampled_from([0, 0.5, 2, 10]),
    success_threshold=st.integers(1, 3),
    failure_threshold=st.integers(1, 4),
)
MANY = st.builds(Probes, st.none() | PROBES, st.none() | PROBES, st.none() | PROBES)
ANSWERS = st.lists(st.tuples(st.sampled_from(Answer), st.sampled_from([0.0, 0.1, 1.0, 30.0])), max_size=60)


def play(watch, answers, start=0.0):
    """Ask what is due and answer it; yield time, role, answer, turn and health of each question."""
    now = start
    for answer, takes_s in answers:
        due = watch.next()
        if due is None:
            return
        now = max(now, due.at)
        watch.begin(due.role, now)
        began, now = now, now + takes_s
        yield began, due.role, answer, watch.hear(due.role, answer, now), watch.health


def runs(played, role):
    """Return how often the last known answers of a role were the same, after each question."""
    counts, last, run = [], None, 0
    for _, asked, answer, _, _ in played:
        if asked is role and answer is not UNKNOWN:
            run = run + 1 if answer is last else 1
            last = answer
        counts.append((asked is role and answer is not UNKNOWN, last, run))
    return counts


@given(MANY, ANSWERS)
def test_nothing_but_startup_is_asked_until_it_succeeded(probes, answers):
    played = list(play(Watch(probes, 0.0), answers))
    completed = next((at for at, one in enumerate(played) if one[3] is Turn.STARTUP_COMPLETED), len(played))

    before = {one[1] for one in played[: completed + 1]} if probes.startup else set()
    assert before <= {Role.STARTUP}
    assert Role.STARTUP not in {one[1] for one in played[completed + 1 :]}
    assert {one[4] for one in played[:completed]} <= {Health.STARTING, Health.FAILED} or not probes.startup


@given(MANY, ANSWERS)
def test_a_container_fails_once_as_soon_as_startup_or_liveness_failed_so_often_in_a_row(probes, answers):
    played = list(play(Watch(probes, 0.0), answers))
    fatal = [
        place
        for role, one in ((Role.STARTUP, probes.startup), (Role.LIVENESS, probes.liveness))
        for place, (said, last, run) in enumerate(runs(played, role))
        if said and last is BAD and run >= one.failure_threshold
    ]
    failed = [place for place, one in enumerate(played) if one[3] is Turn.LIVENESS_FAILED]

    assert failed == sorted(fatal)[:1]
    assert failed in ([], [len(played) - 1])
    assert [one[4] for one in played[:-1] if one[4] is Health.FAILED] == []


@given(MANY, ANSWERS)
def test_readiness_is_what_was_last_said_often_enough(probes, answers):
    watch = Watch(probes, 0.0)
    played, ready = list(play(watch, answers)), None
    for (said, last, run), one in zip(runs(played, Role.READINESS), played, strict=True):
        wanted = probes.readiness and {
            GOOD: probes.readiness.success_threshold,
            BAD: probes.readiness.failure_threshold,
        }.get(last, 999)
        turned = bool(said and run >= wanted and ready is not (last is GOOD))
        ready = (last is GOOD) if turned else ready
        assert (one[3] is Turn.READINESS_CHANGED) == turned

    assert watch.is_ready is ready


@given(MANY, ANSWERS, st.floats(0, 100))
def test_a_probe_is_asked_after_its_delay_and_once_in_a_period(probes, answers, age_s):
    by_role = {}
    for began, role, *_ in play(Watch(probes, 1000.0, age_s), answers, 1000.0):
        by_role.setdefault(role, []).append(began)
    for role, times in by_role.items():
        one = getattr(probes, role.value)
        assert times[0] >= 1000 + max(one.initial_delay_s - age_s, 0)
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert all(gap >= period_s(one) - 1e-9 for gap in gaps)


@given(MANY, st.integers(1, 30))
def test_who_cannot_be_asked_is_not_blamed(probes, count):
    watch = Watch(probes, 0.0)
    before = watch.health
    played = list(play(watch, [(UNKNOWN, 0.0)] * count))

    assert [one for one in played if one[3] is not None or one[4] is not before] == []


@given(MANY, MANY, ANSWERS)
def test_other_probes_on_a_living_container_undo_nothing_that_is_known(probes, others, answers):
    watch = Watch(probes, 0.0)
    list(play(watch, answers))
    changed = watch.carry_on(others, 5000.0)

    assert changed.is_failed == watch.is_failed
    assert changed.is_started or not watch.is_started
    assert changed.next() is None or changed.next().at >= 0


@given(MANY, ANSWERS)
def test_the_same_probes_carry_on_as_if_nothing_had_happened(probes, answers):
    watch = Watch(probes, 0.0)
    list(play(watch, answers))
    same = watch.carry_on(probes, 5000.0)

    assert (same.health, same.next()) == (watch.health, watch.next())


@pytest.mark.parametrize(
    ("probes", "answers", "health"),
    [
        (Probes(), [], Health.UNKNOWN),
        (Probes(liveness=probe()), [], Health.UNKNOWN),
        (Probes(liveness=probe()), [GOOD], Health.UNKNOWN),
        (Probes(liveness=probe()), [BAD, BAD], Health.UNKNOWN),
        (Probes(liveness=probe()), [BAD, BAD, BAD], Health.FAILED),
        (Probes(liveness=probe()), [BAD, BAD, GOOD, BAD, BAD], Health.UNKNOWN),
        (Probes(liveness=probe()), [BAD, BAD, UNKNOWN, BAD], Health.FAILED),
        (Probes(startup=probe()), [BAD], Health.STARTING),
        (Probes(startup=probe()), [GOOD], Health.READY),
        (Probes(startup=probe(failure_threshold=1)), [BAD], Health.FAILED),
        (Probes(readiness=probe()), [], Health.STARTING),
        (Probes(readiness=probe()), [BAD], Health.STARTING),
        (Probes(readiness=probe()), [BAD, BAD, BAD], Health.NOT_READY),
        (Probes(readiness=probe()), [GOOD], Health.READY),
        (Probes(readiness=probe()), [GOOD, BAD, BAD], Health.READY),
        (Probes(readiness=probe()), [GOOD, BAD, BAD, BAD], Health.NOT_READY),
        (Probes(readiness=probe(success_threshold=2)), [GOOD, BAD, GOOD], Health.STARTING),
    ],
)
def test_answers_become_a_health(probes, answers, health):
    watch = Watch(probes, 0.0)
    list(play(watch, [(answer, 0.0) for answer in answers]))

    assert watch.health is health
