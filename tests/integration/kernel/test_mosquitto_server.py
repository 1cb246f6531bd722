"""The broker as our child: starting, dying, coming back with what it was given."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from broker_fixtures import eventually, start_broker

from iotistic.kernel.engines import engine_folder
from iotistic.kernel.home import Home
from iotistic.kernel.mosquitto.config import BrokerFiles
from iotistic.kernel.mosquitto.control import running_broker
from iotistic.kernel.mosquitto.install import BrokerMissing, find_mosquitto
from iotistic.kernel.mosquitto.log import SKIPPED, BrokerLog
from iotistic.kernel.mosquitto.server import ENGINE, BrokerNotStarted, BrokerPortTaken, MosquittoServer
from iotistic.kernel.process import service_account

PARENT = """
import asyncio, sys
sys.path.insert(0, {fixtures!r})
from pathlib import Path
from broker_fixtures import start_broker

async def main():
    broker = await start_broker(Path({home!r}))
    await asyncio.sleep(60)

asyncio.run(main())
"""


def process_owner(pid):
    return Path(f"/proc/{pid}").stat().st_uid


async def restart(broker):
    await broker.server.process.wait()
    await broker.server.stop()
    await broker.server.start()
    broker.closing.close()


def waiting_messages(broker, count):
    reader = broker.stranger()
    access = broker.server.access
    answer = reader.connect(
        "reader", username=access.username, password=access.password, clean_start=False, session_expiry_s=3600
    )
    return answer.session_present, [reader.receive().payload for _ in range(count)]


def leave_a_session(broker):
    reader = broker.service("reader", clean_start=False, session_expiry_s=3600)
    reader.subscribe("tele/#")
    reader.leave()


async def test_what_waits_for_an_absent_service_survives_a_graceful_restart(own_broker):
    leave_a_session(own_broker)
    writer = own_broker.service("writer")
    for n in range(500):
        writer.publish("tele/x", b"%d" % n)

    await own_broker.server.stop()
    await restart(own_broker)

    assert waiting_messages(own_broker, 500) == (True, [b"%d" % n for n in range(500)])


@pytest.mark.parametrize("save", [MosquittoServer.save, lambda server: None], ids=["asked", "by itself"])
async def test_what_was_saved_survives_kill_9(tmp_path, save):
    broker = await start_broker(tmp_path, autosave_interval_s=1)
    leave_a_session(broker)
    writer = broker.service("writer")
    writer.publish("tele/x", b"queued")
    writer.publish("stat/x", b"kept", retain=True)
    save(broker.server)
    database = broker.server.config.files.data / "mosquitto.db"
    eventually(lambda: database.exists() and b"kept" in database.read_bytes())

    broker.server.process.kill()
    await restart(broker)

    with broker.closing:
        assert waiting_messages(broker, 1) == (True, [b"queued"])
        late = broker.service("late")
        late.subscribe("stat/#")
        assert late.receive().payload == b"kept"
    await broker.server.stop()


def test_the_broker_dies_with_a_parent_that_is_killed(tmp_path):
    script = PARENT.format(fixtures=str(Path(__file__).parent.parent), home=str(tmp_path))
    files = BrokerFiles(engine_folder(Home(tmp_path), ENGINE, service_account()))
    with (
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL) as parent,
        ExitStack() as end,
    ):
        end.callback(parent.kill)
        broker_pid = eventually(lambda: running_broker(files))

    eventually(lambda: not Path(f"/proc/{broker_pid}").exists())


async def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(BrokerPortTaken) as caught:
            await start_broker(tmp_path, device_port=port)

    assert caught.value.fields["port"] == port


async def test_a_broken_certificate_is_told_in_the_brokers_words(own_broker):
    await own_broker.server.stop()
    own_broker.authority.certificate.write_text("no certificate")

    with pytest.raises(BrokerNotStarted) as caught:
        await own_broker.server.start()
    assert "ca.crt" in str(caught.value.fields["last_words"])


def test_a_missing_mosquitto_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)

    with pytest.raises(BrokerMissing) as caught:
        find_mosquitto()
    assert "apt-get install -y mosquitto" in caught.value.hint


@pytest.mark.needs_root
async def test_a_home_that_the_service_account_cannot_reach_still_gets_a_broker():
    with tempfile.TemporaryDirectory() as closed:  # mode 700, owned by root
        broker = await start_broker(Path(closed) / "home")
        owner = process_owner(broker.server.process.pid)
        with broker.closing:
            assert broker.connected_device("aabbccddee01").publish("tele/f2-aabbccddee01/a") < 128
        await broker.server.stop()

    assert owner != 0


def test_secrets_are_neither_in_the_arguments_nor_readable_by_others(own_broker):
    arguments = Path(f"/proc/{own_broker.server.process.pid}/cmdline").read_bytes()
    files = own_broker.server.config.files

    assert own_broker.server.access.password.encode() not in arguments
    assert own_broker.server.access.password not in files.passwords.read_text()
    assert {path.stat().st_mode & 0o077 for path in (files.key, files.passwords, files.config)} == {0}


def test_a_flood_of_log_lines_is_taken_at_once_and_what_is_not_read_is_counted(own_broker):
    reading, writing = os.pipe()
    log = BrokerLog(reading, config=own_broker.server.config, on_device=print, lines_per_s=4000)
    before = SKIPPED._value.get()
    log.start()
    started = time.monotonic()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"Sending PUBACK to x (m1, rc0)\n" * 500_000)
    log.join()

    assert time.monotonic() - started < 3
    assert SKIPPED._value.get() - before > 450_000


def test_a_line_cut_by_the_pipe_is_read_whole(own_broker):
    reading, writing = os.pipe()
    log = BrokerLog(reading, config=own_broker.server.config, on_device=print)
    log.start()
    for piece in (b"Error: Addr", b"ess already in use\nErr", b"or: two\n"):
        os.write(writing, piece)
    os.close(writing)
    log.join()

    assert log.last_lines() == ["Error: Address already in use", "Error: two"]


async def test_messages_are_neither_lost_nor_out_of_order_with_debug_lines(broker):
    reader = broker.service("reader", receive_maximum=65535)
    reader.subscribe("tele/#")
    writer = broker.service("writer")
    for n in range(600):
        writer.publish("tele/x", b"%d" % n)

    assert [reader.receive().payload for _ in range(600)] == [b"%d" % n for n in range(600)]


async def test_sigterm_ends_the_broker_with_status_zero(own_broker):
    own_broker.server.process.send_signal(signal.SIGTERM)

    assert await asyncio.wait_for(own_broker.server.process.wait(), 10) == 0
