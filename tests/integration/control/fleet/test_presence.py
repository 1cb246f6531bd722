"""Who is here: leases, sessions, outages, clocks; written once, whoever notices."""

import asyncio

import pytest
from fleet_builders import PATIENT, build

from iotistic.control.presence.keeper import PresenceKeeper
from iotistic.control.presence.model import Sign
from iotistic.control.presence.service import Presence
from iotistic.control.presence.settings import PresenceSettings
from iotistic.kernel.postgres.pool import DatabaseUnavailable
from iotistic.kernel.settings import SettingsInvalid, load_settings


async def here(fleet, *devices):
    for device in devices:
        await device.poll()
    await fleet.presence.flush()
    await fleet.presence.sweep()


async def test_a_device_is_here_while_it_gives_signs_and_gone_when_its_lease_is_over(fleet):
    device = await fleet.add()
    never = await fleet.is_online(device)
    await here(fleet, device)
    await fleet.pass_time(299)
    await fleet.presence.sweep()
    still = await fleet.is_online(device)
    await fleet.pass_time(2)
    await fleet.presence.sweep()
    gone = await fleet.is_online(device)
    await device.report(version=1)
    await fleet.presence.flush()

    assert (never, still, gone) == ([False], [True], [False])
    assert await fleet.is_online(device) == [True]
    assert fleet.notes.transitions == [
        (device.uuid, True, "poll"), (device.uuid, False, "silent"), (device.uuid, True, "report"),
    ]  # fmt: skip


async def test_comings_and_goings_can_be_asked_for(fleet):
    device = await fleet.add()
    await here(fleet, device)
    await fleet.pass_time(301)
    await fleet.presence.sweep()
    told = (await fleet.get(f"/devices/{device.uuid}/presence")).json()
    older = (await fleet.get(f"/devices/{device.uuid}/presence", before=told["history"][0]["id"])).json()

    assert (told["is_online"], told["last_seen_by"]) == (False, "poll")
    assert [(one["is_online"], one["reason"]) for one in told["history"]] == [
        (False, "silent"),
        (True, "poll"),
    ]
    assert [one["reason"] for one in older["history"]] == ["poll"]


async def test_the_heartbeat_says_who_is_here_and_can_be_looked_at_at_once(fleet):
    nobody = (await fleet.get("/admin/heartbeat")).json()
    here_, gone = [await fleet.add() for _ in range(2)]
    await here(fleet, gone)
    await fleet.pass_time(200)
    await here(fleet, here_)
    await fleet.pass_time(101)
    await fleet.add()
    before = (await fleet.get("/admin/heartbeat", role="viewer")).json()
    refused = await fleet.ask("POST", "/admin/heartbeat/check", role="viewer")
    looked = (await fleet.ask("POST", "/admin/heartbeat/check", role="operator")).json()

    def counts(told):
        return [told[name] for name in ("online", "offline", "never_seen")]

    assert counts(nobody) == [0, 0, 0]
    assert (before["lease_s"], before["grace_s"], counts(before)) == (300, 90, [2, 1, 1])
    assert refused.status_code == 403
    assert (looked["went_offline"], counts(looked["heartbeat"])) == (1, [1, 2, 1])
    assert looked["heartbeat"]["is_attended"]
    assert looked["heartbeat"]["last_check_at"] >= before["last_check_at"]


async def test_a_broken_connection_counts_after_a_grace_unless_the_device_comes_back(fleet):
    returning, lost = await fleet.add(), await fleet.add()
    epochs = [await fleet.presence.opened(device.uuid) for device in (returning, lost)]
    for device, epoch in zip((returning, lost), epochs, strict=True):
        assert await fleet.presence.closed(device.uuid, epoch)
    await fleet.pass_time(60)
    await fleet.presence.opened(returning.uuid)
    await fleet.presence.sweep()
    within = await fleet.is_online(returning, lost)
    await fleet.pass_time(60)
    await fleet.presence.sweep()

    assert within == [True, True]
    assert await fleet.is_online(returning, lost) == [True, False]
    assert fleet.notes.transitions[-1] == (lost.uuid, False, "disconnected")
    assert len(fleet.notes.transitions) == 3


async def test_the_late_end_of_an_older_session_takes_nobody_offline(fleet):
    device = await fleet.add()
    first = await fleet.presence.opened(device.uuid)
    second = await fleet.presence.opened(device.uuid)
    late = await fleet.presence.closed(device.uuid, first)
    await fleet.pass_time(200)
    await fleet.presence.sweep()
    still = await fleet.is_online(device)

    assert (second, late, still) == (first + 1, False, [True])
    assert await fleet.presence.closed(device.uuid, second)


async def test_a_sign_from_before_the_end_of_a_session_says_nothing_of_the_time_after(fleet, pool):
    device = await fleet.add()
    elsewhere = Presence(pool, PresenceSettings(), monotonic=lambda: 0.0)
    epoch = await fleet.presence.opened(device.uuid)
    fleet.presence.renew(device.uuid, Sign.POLL)
    await asyncio.sleep(0)
    await elsewhere.closed(device.uuid, epoch)
    fleet.presence._noticed = {uuid: (at - 5, sign) for uuid, (at, sign) in fleet.presence._noticed.items()}
    await fleet.presence.flush()
    standing = await fleet.presence.standing(device.uuid)

    assert (standing.lease_until - standing.seen_at).total_seconds() <= 95


async def test_a_thousand_broken_connections_at_once_are_written_once_each(fleet):
    await fleet.pool.execute(
        "INSERT INTO fleet_devices (uuid, name, type, fleet_id) "
        "SELECT gen_random_uuid(), 'd' || n, 't', 'f' FROM generate_series(1, 1000) n"
    )
    uuids = [row["uuid"] for row in await fleet.pool.fetch("SELECT uuid::text FROM fleet_devices")]
    for uuid in uuids:
        fleet.presence.renew(uuid, Sign.MQTT)
    await fleet.presence.flush()
    others = [Presence(fleet.pool, PresenceSettings(), journal=fleet.notes) for _ in range(3)]
    await fleet.pass_time(301)
    await asyncio.gather(*(one.sweep() for one in (fleet.presence, *others) for _ in range(3)))
    for one in (fleet.presence, *others):
        for uuid in uuids:
            one.renew(uuid, Sign.MQTT)
    await asyncio.gather(*(one.flush() for one in (fleet.presence, *others)))
    history = await fleet.pool.fetch(
        "SELECT is_online, count(*) AS n, count(DISTINCT device_uuid) AS devices "
        "FROM device_presence_history GROUP BY 1 ORDER BY 1"
    )

    assert [tuple(row) for row in history] == [(False, 1000, 1000), (True, 2000, 1000)]
    assert len(fleet.notes.transitions) == 3000


async def test_a_restart_of_the_api_sends_nobody_offline(fleet, pool):
    alive, dead = await fleet.add(), await fleet.add()
    await here(fleet, alive, dead)
    await pool.execute(
        "UPDATE device_presence SET lease_until = lease_until - interval '290 s' WHERE device_uuid = $1::text::uuid",
        dead.uuid,
    )
    await fleet.pass_time(3600, watched=False)
    again = build(pool, **PATIENT).presence
    await again.sweep()
    after_restart = await fleet.is_online(alive, dead)
    again.renew(alive.uuid, Sign.POLL)
    await again.flush()
    await fleet.pass_time(20)
    await again.sweep()

    assert after_restart == [True, True]
    assert await fleet.is_online(alive, dead) == [True, False]


async def test_what_was_over_before_the_outage_is_over_after_it(fleet):
    device = await fleet.add()
    await here(fleet, device)
    await fleet.pass_time(301)
    await fleet.pass_time(3600, watched=False)
    await fleet.presence.sweep()

    assert await fleet.is_online(device) == [False]


@pytest.mark.parametrize("step_s", [7200, -7200])
async def test_a_step_of_the_clock_sends_nobody_offline_and_keeps_nobody_online(fleet, step_s):
    alive, silent = await fleet.add(), await fleet.add()
    await here(fleet, alive, silent)
    await fleet.pass_time(step_s, watched=False)
    await fleet.presence.sweep()
    stepped = await fleet.is_online(alive, silent)
    await fleet.pass_time(200)
    alive_again = await alive.poll()
    await fleet.presence.flush()
    await fleet.presence.sweep()
    await fleet.pass_time(101)
    await fleet.presence.sweep()

    assert (stepped, alive_again.status_code) == ([True, True], 200)
    assert await fleet.is_online(alive, silent) == [True, False]


async def test_a_device_that_says_goodbye_is_gone_at_once_and_back_with_the_next_sign(fleet):
    device = await fleet.add()
    await here(fleet, device)
    await device.report(is_online=False)
    gone = await fleet.is_online(device)
    await here(fleet, device)

    assert gone == [False]
    assert await fleet.is_online(device) == [True]
    assert [reason for _, _, reason in fleet.notes.transitions] == ["poll", "said-goodbye", "poll"]


async def test_a_refused_credential_is_no_sign_of_life(fleet):
    one, other = await fleet.add(), await fleet.add()
    one.uuid, other.uuid = other.uuid, one.uuid
    answers = [await one.poll(), await one.report(version=1), await one.send(b'{"message": "x"}')]
    await fleet.presence.flush()

    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert await fleet.is_online(one, other) == [False, False]


async def test_signs_are_kept_while_the_database_is_away(fleet):
    device = await fleet.add()
    pool = fleet.presence._pool
    await device.poll()
    fleet.presence._pool = Away()
    with pytest.raises(DatabaseUnavailable):
        await fleet.presence.flush()
    fleet.presence._pool = pool
    await fleet.presence.flush()

    assert await fleet.is_online(device) == [True]


class Away:
    """A pool of a database that is away."""

    def acquire(self):
        raise ConnectionError


async def test_the_keeper_writes_what_was_noticed_before_it_ends(fleet):
    device = await fleet.add()
    keeper = PresenceKeeper(fleet.presence, PresenceSettings(presence_beat_s=0.02))
    running = asyncio.create_task(keeper.run())
    await device.poll()
    keeper.stop()
    await asyncio.wait_for(running, 10)

    assert await fleet.is_online(device) == [True]


async def test_a_journal_that_fails_undoes_the_transition_until_it_works_again(fleet, pool):
    class Full:
        async def note(self, db, transitions):
            raise RuntimeError("the journal is full")

    device = await fleet.add()
    failing = Presence(pool, PresenceSettings(presence_write_s=0), journal=Full())
    failing.renew(device.uuid, Sign.POLL)
    with pytest.raises(RuntimeError):
        await failing.flush()
    before = await fleet.is_online(device)
    failing._journal = fleet.notes
    await failing.flush()

    assert (before, await fleet.is_online(device)) == ([False], [True])
    assert fleet.notes.transitions == [(device.uuid, True, "poll")]


async def test_old_comings_and_goings_are_forgotten(fleet):
    device = await fleet.add()
    await here(fleet, device)
    await fleet.pool.execute("UPDATE device_presence_history SET at = at - interval '91 days'")
    await fleet.presence.forget()

    assert await fleet.pool.fetchval("SELECT count(*) FROM device_presence_history") == 0


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(SettingsInvalid):
        load_settings(PresenceSettings, presence_grace_s=10)
