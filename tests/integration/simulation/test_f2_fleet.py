"""Simulated controllers against the real certificate authority, broker and database."""

import asyncio
import json
import os
import signal
import sqlite3
import stat
import sys

import pytest
from fleet_site import MACS, OPERATOR, at_work, until

from iotistic.contracts.backlog import UNANSWERED_ASKS
from iotistic.contracts.f2 import parse_topic
from iotistic.simulation.f2.credentials import CredentialsUnreadable
from iotistic.simulation.f2.enrolment import EnrolmentRefused


async def test_controllers_enrol_connect_publish_and_are_acknowledged(site):
    enrolment = await site.enrol()

    async with at_work(site.fleet(enrolment.identities)) as tally:
        await until(lambda: tally.acknowledged > 200)

    assert (enrolment.enrolled, enrolment.reused) == (4, 0)
    assert tally.connects == 4
    assert tally.refused == {}
    assert tally.unacknowledged == tally.skipped == 0


async def test_credentials_are_used_again_and_kept_for_this_user_only(site):
    first = await site.enrol()
    second = await site.enrol()
    file = site.home.simulator / "credentials.sqlite"

    assert (second.enrolled, second.reused) == (0, 4)
    assert second.identities == first.identities
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(site):
    first = await site.enrol()
    with sqlite3.connect(site.home.simulator / "credentials.sqlite") as db:
        db.execute("UPDATE credentials SET certificate = NULL, expires_at = NULL")
    db.close()

    second = await site.enrol()

    assert second.enrolled == 4
    assert second.identities == first.identities


async def test_lost_keys_are_told_and_replaced_only_when_asked(site):
    first = await site.enrol()
    (site.home.simulator / "credentials.sqlite").unlink()

    with pytest.raises(EnrolmentRefused) as refused:
        await site.enrol()
    replaced = await site.enrol(replace=True)

    assert refused.value.hint
    assert set(replaced.identities) == set(first.identities)
    assert replaced.identities != first.identities


async def test_a_wrong_token_is_refused(site):
    with pytest.raises(EnrolmentRefused):
        await site.enrol(token="iot_wrong")


async def test_a_damaged_credentials_file_is_told(site):
    (site.home.simulator / "credentials.sqlite").write_bytes(b"no database" * 100)

    with pytest.raises(CredentialsUnreadable):
        await site.enrol()


@pytest.fixture
async def service(site):
    """A client of the service listener that hears everything."""
    import aiomqtt

    access = site.broker.access
    async with aiomqtt.Client(
        "127.0.0.1",
        access.port,
        username=access.username,
        password=access.password,
        identifier="fleet-test",
        protocol=aiomqtt.ProtocolVersion.V5,
    ) as client:
        await client.subscribe("stat/#", qos=1)
        await client.subscribe("tele/#", qos=1)
        yield client


async def test_commands_are_answered(site, service):
    enrolment = await site.enrol(MACS[:1])
    strike = f"f2-{MACS[0]}/access-control-mode/J1/strike-2"

    async with at_work(site.fleet(enrolment.identities, interval_s=60)) as tally, asyncio.timeout(15):
        await until(lambda: tally.connected == 1)
        await service.publish(f"cmnd/{strike}", b'{"power-flag": 1, "period": 1}', qos=1)
        await service.publish(f"cmnd/{strike}", b"nonsense", qos=1)
        answers = []
        async for message in service.messages:
            if str(message.topic) == f"stat/{strike}":
                answers.append(json.loads(message.payload)["status"])
            if answers[-2:] == [True, False]:
                break

    assert answers[-2:] == [True, False]
    assert tally.commands == 1
    assert tally.commands_refused == {"f2.command_invalid": 1}


async def test_what_is_published_is_within_the_grammar(site, service):
    enrolment = await site.enrol(MACS[:2])

    async with at_work(site.fleet(enrolment.identities)), asyncio.timeout(15):
        topics = set()
        async for message in service.messages:
            topics.add(parse_topic(str(message.topic)))
            if len(topics) >= 2 * (8 + 4 + 7):
                break

    assert {topic.mac for topic in topics} == set(MACS[:2])


async def test_a_killed_broker_costs_no_message_though_nobody_answers(site):
    enrolment = await site.enrol()
    fleet = site.fleet(enrolment.identities, interval_s=0.05, ask_pause_s=0.02)

    async with at_work(fleet) as tally:
        await until(lambda: tally.acknowledged > 100)
        os.kill(site.broker.process.pid, signal.SIGKILL)
        await site.broker.process.wait()
        await until(lambda: tally.connected == 0)
        await until(lambda: tally.kept_back > 200)
        await site.broker.start()
        await until(lambda: tally.connected == 4)
        await until(lambda: tally.kept_back == 0)

    assert tally.reconnects == 4
    assert tally.asked >= 4 * UNANSWERED_ASKS
    assert tally.caught_up > 200
    assert tally.acknowledged == tally.published
    assert tally.unacknowledged == tally.skipped == 0


async def test_a_handful_goes_straight_out_after_an_outage(site):
    enrolment = await site.enrol(MACS[:1])
    fleet = site.fleet(enrolment.identities, interval_s=60)

    async with at_work(fleet) as tally:
        await until(lambda: tally.connected == 1)
        fleet.cut()
        await until(lambda: tally.connected == 0)
        await fleet.measure_all()
        fleet.restore()
        await until(lambda: tally.reconnects == 1)
        await until(lambda: tally.unacknowledged == 0)

    assert (tally.kept_back, tally.asked, tally.lane_refused) == (0, 0, 0)
    assert tally.caught_up >= 8
    assert tally.acknowledged == tally.published


async def test_an_outbox_keeps_back_no_more_than_it_may(site):
    enrolment = await site.enrol(MACS[:2])
    fleet = site.fleet(enrolment.identities, interval_s=60, outbox=30)

    async with at_work(fleet) as tally:
        await until(lambda: tally.connected == 2)
        fleet.cut()
        for _ in range(10):
            await fleet.measure_all()

    assert tally.kept_back <= 2 * 30 + 2 * 30
    assert tally.skipped > 0


def simulate(site, *words):
    environment = {
        **os.environ,
        "IOTISTIC_HOME": str(site.home.path),
        "SIMULATE_MQTT_URL": f"mqtts://localhost:{site.broker.endpoints.device_port}",
        "SIMULATE_PKI_URL": site.authority.url,
        "SIMULATE_CA_FILE": str(site.authority.ca_certificate),
        "ENROLMENT_TOKEN": OPERATOR,
    }
    return asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "iotistic", "simulate", "f2", "--json", *words),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_drains_on_a_signal_and_prints_its_summary(site, stop):
    child = await simulate(site, "--controllers", "3", "--interval", "0.2")
    async with asyncio.timeout(20):
        while b"3/3 connected" not in await child.stderr.readline():
            pass
        child.send_signal(stop)
        told, _ = await child.communicate()
    summary = json.loads(told)

    assert child.returncode == 0
    assert summary["enrolled"] == summary["connected"] == 3
    assert summary["acknowledged"] == summary["published"] > 0


async def test_the_command_ends_after_its_duration_and_keeps_its_rate(site):
    child = await simulate(site, "--rate", "400", "--duration", "4", "--payload", "json")
    async with asyncio.timeout(30):
        told, _ = await child.communicate()
    summary = json.loads(told)

    assert child.returncode == 0
    assert 1000 < summary["published"] < 1900
    assert summary["acknowledged"] == summary["published"]


async def test_the_command_says_what_the_authority_refuses(site):
    await site.enrol(MACS[:1])
    (site.home.simulator / "credentials.sqlite").unlink()
    child = await simulate(site, "--controllers", "1")
    async with asyncio.timeout(30):
        _, complaint = await child.communicate()

    assert child.returncode == 3
    assert json.loads(complaint.splitlines()[-1])["error"]["code"] == "simulator.enrolment_refused"
