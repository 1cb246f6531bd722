"""Users of the managed broker: taken over, taken away, through kills and absences."""

import asyncio
import contextlib

import pytest
from broker_site import PASSWORD, eventually, is_refused, running_site
from device_cloud import served
from pydantic import SecretStr

from iotistic.control.broker.model import ALL_ACCESS, Access
from iotistic.kernel.mosquitto.control import running_broker

NOT_AUTHORIZED = 135


@pytest.fixture
async def site(pool, tmp_path):
    async with running_site(pool, tmp_path) as running, served(running.cloud):
        yield running


async def add(site, name="ada", *, password=PASSWORD, is_superuser=False, **rules):
    secret = SecretStr(password)
    given = await site.users.create(name, secret, is_superuser=is_superuser, is_active=True, by="test")
    for topic, access in rules.items():
        await site.users.add_acl(given.user.id, topic.replace("_", "/"), Access(access), 0, by="test")
    return given.user


async def test_a_user_reads_and_writes_what_its_rules_say(site):
    await add(site, a_b=3, c=1, d=2)
    site.keep()
    client = await eventually(lambda: site.connect("ada"))
    for topic in ("a/b", "c", "d"):
        client.subscribe(topic)

    assert [client.publish(topic, b"x") for topic in ("c", "e", "a/b/c")] == [NOT_AUTHORIZED] * 3
    assert client.publish("d", b"unheard") == 0
    assert client.publish("a/b", b"heard") == 0
    assert client.receive().topic == b"a/b"
    site.service("cloud").publish("c", b"from the cloud")
    assert client.receive().topic == b"c"


async def test_a_superuser_may_everything(site):
    await add(site, is_superuser=True)
    site.keep()
    client = await eventually(lambda: site.connect("ada"))
    client.subscribe("#")

    assert client.publish("any/thing", b"x") == 0
    assert client.receive().topic == b"any/thing"


async def test_nobody_takes_over_a_session_by_its_client_id(site):
    await add(site)
    site.keep()
    await eventually(lambda: site.connect("ada"))
    reader = site.service("ingest-1")

    site.connect("ada", client_id="ingest-1")
    reader.subscribe("a")
    site.service("cloud").publish("a", b"still there")

    assert reader.receive().payload == b"still there"


async def test_a_user_that_is_removed_is_disconnected_and_refused(site):
    user = await add(site, a=7)
    site.keep()
    client = await eventually(lambda: site.connect("ada"))

    await site.users.remove(user.id, by="test")

    await site.ended(client)
    assert await eventually(lambda: is_refused(lambda: site.connect("ada")) and site.service())


async def test_a_new_password_ends_the_old_one(site):
    user = await add(site)
    site.keep()
    await eventually(lambda: site.connect("ada"))

    await site.users.change(user.id, {"password": SecretStr("another password")}, by="test")

    assert await eventually(lambda: site.connect("ada", "another password"))
    assert is_refused(lambda: site.connect("ada"))


async def test_changes_are_gathered_and_what_takes_rights_away_comes_sooner(site):
    keeper = site.keeper(broker_grant_pause_s=3600, broker_revoke_pause_s=0)
    user = await add(site)
    await keeper.keep()
    await eventually(lambda: site.connect("ada"))
    waits = []
    for number in range(3):
        await add(site, f"user-{number}")
        waits.append(await keeper.keep())
    starts = site.starts
    await site.users.remove(user.id, by="test")
    await keeper.keep()

    assert min(waits) > 3000
    assert starts == 2
    assert await eventually(lambda: site.connect("user-2"))
    assert is_refused(lambda: site.connect("ada"))


async def test_nothing_to_change_costs_no_start(site):
    keeper = site.keeper()
    for _ in range(3):
        await keeper.keep()

    assert site.starts == 1


async def test_what_changed_while_the_broker_was_away_is_in_force_when_it_is_back(site):
    site.server.process.kill()
    await add(site)
    site.keep()

    assert await eventually(lambda: site.connect("ada"))


async def test_a_keeper_that_dies_before_the_start_is_made_up_for_by_the_next(site):
    await add(site)
    dying = site.keeper()
    with contextlib.suppress(asyncio.CancelledError):
        dying._want(await dying._texts())  # the files are written, the start is not asked for

    await site.keeper().keep()

    assert await eventually(lambda: site.connect("ada"))


async def test_of_two_keepers_one_works_and_the_other_takes_over(site):
    first, second = site.keeper(), site.keeper()
    running = [asyncio.create_task(first.run()), asyncio.create_task(second.run())]
    await add(site)
    first.changed()
    second.changed()
    await eventually(lambda: site.connect("ada"))
    running[0].cancel()
    await add(site, "bob")

    site.tasks += running
    assert await eventually(lambda: site.connect("bob"), within_s=30)


async def test_a_database_that_goes_away_leaves_accounts_as_they_are(site):
    await add(site)
    site.keep()
    await eventually(lambda: site.connect("ada"))

    await site.pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    assert site.connect("ada")
    await add(site, "bob")
    assert await eventually(lambda: site.connect("bob"), within_s=40)


async def test_files_of_accounts_are_for_the_broker_only(site):
    await add(site)
    await site.keeper().keep()
    folder = site.server.config.files.folder

    assert {oct(path.stat().st_mode & 0o777) for path in folder.glob("accounts.*")} == {"0o600"}
    assert PASSWORD not in (folder / "accounts.passwords").read_text()
    assert running_broker(site.server.config.files)


async def test_every_bit_is_kept(site):
    user = await add(site, a=ALL_ACCESS)

    assert (await site.users.find(user.id)).acls[0].access == ALL_ACCESS


async def test_a_broker_that_is_being_started_is_not_asked_to_start_anew(site):
    """A signal before it serves would fail its start."""
    site.control.accounts.started_with("", "")

    assert not site.control.ask_restart()
    site.control.accounts.note_ready()
    assert site.control.ask_restart()
    await eventually(lambda: site.starts == 2)
