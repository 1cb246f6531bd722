"""What every engine promises: the same tests for each (see engines/port.py)."""

import asyncio
import math
import time

import pytest
from engine_hands import BACK, DATA, MISSING, SAID, THERE, service

from iotistic.agent.engines.errors import ContainerNotFound, ImageNotFound, StartRefused, StepRefused
from iotistic.agent.engines.port import Change
from iotistic.planning.model import Current, Mount, Port, Probe, ProbeKind, Probes, Resources, Restart, Status

RICH = service(
    environment=frozenset({("A", "1"), ("B", "x=y z")}),
    ports=frozenset({Port(8080, 80), Port(5353, 53, "udp", "127.0.0.1"), Port(8443, 443, "tcp", "127.0.0.1")}),
    mounts=frozenset({Mount("data", "/data"), Mount("/tmp", "/host", read_only=True)}),
    networks=frozenset({"back", "front"}),
    labels=frozenset({("team", "shop")}),
    restart=Restart.ON_FAILURE,
    resources=Resources(333_000_000, 64 << 20, 1_234_567, 32 << 20),
    probes=Probes(readiness=Probe(ProbeKind.HTTP, port=80)),
    stop_timeout_s=3,
)  # fmt: skip


async def test_a_container_is_shown_as_it_was_wanted(hands):
    for network in (BACK, BACK._replace(name="front")):
        await hands.engine.create_network(network)
    await hands.engine.create_volume(DATA)
    container_id = await hands.running(RICH)
    one = await hands.seen(container_id)

    assert one.config == RICH.config
    assert (one.key, one.name, one.status) == (RICH.key, "web", Status.RUNNING)
    assert one.started_at > 0


async def test_what_is_not_ours_is_not_shown(hands):
    await hands.make_foreign()
    current = await hands.engine.observe()

    assert current == Current(images=current.images)
    assert {"web:1", "web:2"} <= current.images


async def test_an_image_is_fetched_with_progress(hands):
    told = []
    await hands.engine.fetch(THERE, told.append)

    assert THERE in (await hands.engine.observe()).images
    assert told
    assert all(progress.done <= progress.total for progress in told)
    await hands.engine.remove_image(THERE)
    assert THERE not in (await hands.engine.observe()).images


async def test_an_image_that_nobody_has_is_said_to_be_missing(hands):
    with pytest.raises(ImageNotFound):
        await hands.engine.fetch(MISSING, lambda _: None)


async def test_a_container_without_its_image_is_not_made(hands):
    with pytest.raises(StartRefused):
        await hands.engine.create(service("nobody/has:1"))


async def test_a_container_without_its_network_is_not_made_or_not_started(hands):
    with pytest.raises(StartRefused):
        await hands.running(service(networks=frozenset({"nowhere"})))


async def test_a_container_that_was_made_and_never_started_is_replaced(hands):
    first = await hands.engine.create(service())
    second = await hands.engine.create(service())

    assert await hands.seen(first) is None
    one = await hands.seen(second)
    assert (one.status, one.name) == (Status.CREATED, "web")


async def test_a_container_that_cannot_run_is_refused_when_it_is_started(hands):
    container_id = await hands.engine.create(service("broken:1"))
    with pytest.raises(StartRefused):
        await hands.engine.start(container_id)


async def test_two_containers_do_not_offer_the_same_port(hands):
    await hands.running(service(ports=frozenset({Port(8080, 80)})))
    with pytest.raises(StartRefused):
        await hands.running(service(name="other", ports=frozenset({Port(8080, 80)})))


async def test_stopping_and_starting_keeps_the_container(hands):
    container_id = await hands.running()
    await hands.engine.stop(container_id, 5)
    assert (await hands.seen(container_id)).status is Status.EXITED
    await hands.engine.start(container_id)
    assert (await hands.seen(container_id)).status is Status.RUNNING


async def test_pausing_keeps_the_container(hands):
    container_id = await hands.running()
    await hands.engine.pause(container_id)
    assert (await hands.seen(container_id)).status is Status.PAUSED
    await hands.engine.unpause(container_id)
    assert (await hands.seen(container_id)).status is Status.RUNNING


async def test_a_paused_container_can_be_stopped(hands):
    container_id = await hands.running()
    await hands.engine.pause(container_id)
    await hands.engine.stop(container_id, 5)

    assert (await hands.seen(container_id)).status is Status.EXITED


async def test_each_call_can_be_repeated(hands):
    container_id = await hands.running()
    for call in (hands.engine.start, hands.engine.pause, hands.engine.pause, hands.engine.unpause):
        await call(container_id)
    await hands.engine.unpause(container_id)
    for _ in range(2):
        await hands.engine.stop(container_id, 5)
    for _ in range(2):
        await hands.engine.remove(container_id)
        await hands.engine.create_network(BACK)
        await hands.engine.create_volume(DATA)
    made = await hands.engine.observe()
    for _ in range(2):
        await hands.engine.remove_network(BACK)
        await hands.engine.remove_volume(DATA)

    assert (made.networks, set(made.volumes), made.containers) == ({BACK}, {DATA}, ())
    after = await hands.engine.observe()
    assert (after.networks, after.volumes) == (frozenset(), {})


async def test_a_container_that_is_gone_is_said_to_be_gone(hands):
    container_id = await hands.running()
    await hands.remove(container_id)
    for call in (hands.engine.start, hands.engine.pause, hands.engine.unpause):
        with pytest.raises(ContainerNotFound):
            await call(container_id)
    with pytest.raises(ContainerNotFound):
        await hands.engine.stop(container_id, 1)


async def test_a_container_that_runs_is_not_removed(hands):
    container_id = await hands.running()
    with pytest.raises(StepRefused):
        await hands.engine.remove(container_id)


async def test_a_container_that_ended_cannot_be_paused(hands):
    container_id = await hands.running()
    await hands.engine.stop(container_id, 5)
    with pytest.raises(StepRefused):
        await hands.engine.pause(container_id)


async def test_a_network_and_a_volume_in_use_are_not_removed(hands):
    await hands.engine.create_network(BACK)
    await hands.engine.create_volume(DATA)
    mounts = frozenset({Mount("data", "/data")})
    await hands.running(service(networks=frozenset({"back"}), mounts=mounts))
    with pytest.raises(StepRefused):
        await hands.engine.remove_network(BACK)
    with pytest.raises(StepRefused):
        await hands.engine.remove_volume(DATA)


async def test_a_container_is_changed_while_it_lives(hands):
    container_id = await hands.running(service(resources=Resources(memory_limit=32 << 20)))
    wanted = service(restart=Restart.ALWAYS, resources=Resources(500_000_000, 256 << 20, 250_000_000)).config
    await hands.engine.update(container_id, "shopfront", wanted)
    one = await hands.seen(container_id)

    assert (one.id, one.name, one.status) == (container_id, "shopfront", Status.RUNNING)
    assert (one.config.restart, one.config.resources.memory_limit) == (Restart.ALWAYS, 256 << 20)
    assert one.config.resources.cpu_limit == 500_000_000


async def test_two_containers_of_one_service_stand_beside_each_other(hands):
    await hands.engine.create_network(BACK)
    wanted = service(networks=frozenset({"back"}))
    first, second = (
        await hands.running(wanted),
        await hands.running(service("web:2", networks=frozenset({"back"}))),
    )
    assert (await hands.seen(first)).name == "web"
    await hands.engine.stop(first, 5)
    await hands.engine.remove(first)
    one = await hands.seen(second)

    assert (one.status, one.name, one.key) == (Status.RUNNING, "web", wanted.key)


async def test_a_stop_by_hand_is_heard_as_an_order(hands):
    container_id = await hands.running()
    event = await hands.heard(hands.stop(container_id), lambda event: event.change is Change.ENDED)

    assert (event.container_id, event.key, event.by_order) == (container_id, service().key, True)


async def test_a_crash_is_heard_with_its_exit_code(hands):
    async def crash():
        await hands.until_status(await hands.running(service("crash:1", restart=Restart.NO)), Status.EXITED)

    event = await hands.heard(crash(), lambda event: event.change is Change.ENDED)

    assert (event.exit_code, event.by_order) == (3, False)


async def test_a_start_is_heard(hands):
    event = await hands.heard(hands.running(), lambda event: event.change is Change.STARTED)

    assert event.key == service().key


async def collected(lines):
    return [line async for line in lines]


async def test_what_a_container_prints_is_followed_while_it_runs(hands):
    began = time.time()
    container_id = await hands.running(service("talk:1"))
    lines = await hands.printed(container_id, len(SAID))

    assert [(line.text, line.is_stderr) for line in lines] == [(said.text, said.is_stderr) for said in SAID]
    assert sorted(lines, key=lambda line: line.at) == lines
    assert began - 1 <= lines[0].at <= lines[-1].at <= time.time() + 1


async def test_following_ends_when_the_container_ends(hands):
    container_id = await hands.running(service("talk:1"))
    await hands.printed(container_id, len(SAID))
    following = asyncio.create_task(collected(hands.engine.logs(container_id)))
    await asyncio.sleep(0.2)
    assert not following.done()
    await hands.stop(container_id)
    async with asyncio.timeout(10):
        lines = await following

    assert [line.text for line in lines] == [said.text for said in SAID]


async def test_lines_are_read_from_a_moment_on_and_none_is_missing(hands):
    container_id = await hands.running(service("talk:1"))
    lines = await hands.printed(container_id, len(SAID))
    for number, line in enumerate(lines):
        first = next(at for at, other in enumerate(lines) if other.at == line.at)
        again = await collected(hands.engine.logs(container_id, since=line.at, follow=False))
        assert again == lines[min(first, number) :]
    assert await collected(hands.engine.logs(container_id, since=time.time() + 60, follow=False)) == []


async def test_a_container_that_is_started_again_keeps_what_it_printed(hands):
    container_id = await hands.running(service("talk:1"))
    before = await hands.printed(container_id, len(SAID))
    await hands.engine.stop(container_id, 5)
    await hands.engine.start(container_id)
    after = await hands.printed(container_id, len(SAID), since=math.nextafter(before[-1].at, math.inf))
    lines = await collected(hands.engine.logs(container_id, follow=False))

    assert [line.text for line in after] == [said.text for said in SAID]
    assert lines == before + after


async def test_a_container_that_was_never_started_has_printed_nothing(hands):
    container_id = await hands.engine.create(service("talk:1"))
    async with asyncio.timeout(10):
        assert await collected(hands.engine.logs(container_id)) == []


async def test_there_are_no_logs_of_a_container_that_is_gone(hands):
    container_id = await hands.running()
    await hands.remove(container_id)
    with pytest.raises(ContainerNotFound):
        await collected(hands.engine.logs(container_id))
