"""kill -9 of the agent and of its broker under load: what was kept arrives, under one stamp, however often."""

import asyncio
import json
import os
import random
import sys
import threading
from collections import defaultdict
from dataclasses import asdict

import pytest
from tests.integration.agent.agent_broker import TOPIC, UUID, agent_place
from tests.integration.agent.dispatching_agent import EPOCH

from iotistic.agent.store.ranges import joined
from iotistic.contracts.stamps import parse_stamp_data

LIVES = int(os.environ.get("AGENT_LIVES", "16"))
RESEND = f"iot/device/{UUID}/ledger/resend"


class Listener(threading.Thread):
    """Stays connected whatever happens to the broker, and writes down which names came under which stamps."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self._broker, self.ended = broker, threading.Event()
        self.names, self.answers = defaultdict(set), []

    def run(self):
        while not self.ended.is_set():
            try:
                client = self._broker.service("ledger", clean_start=False, session_expiry_s=600)
                client.subscribe("iot/#")
                while not self.ended.is_set():
                    self._note(client.receive())
            except (OSError, AssertionError):
                self.ended.wait(0.05)

    def _note(self, message):
        if message.topic.decode() == TOPIC:
            stamp = parse_stamp_data(message.correlation)
            self.names[stamp].add(message.payload.decode())
        else:
            self.answers.append((message.topic.decode(), message.payload))


class Lives:
    """Agents, one after the other on one disk, and what they said that they kept."""

    def __init__(self, folder, place):
        self._plan = {
            "folder": str(folder), "address": asdict(place.address), "uuid": UUID, "topic": TOPIC,
        }  # fmt: skip
        self.kept = {}

    async def begin(self, seed, messages=10**6):
        plan = json.dumps(self._plan | {"seed": seed, "messages": messages})
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.integration.agent.dispatching_agent", plan),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def hear(self, count):
        for _ in range(count):
            self._note(await self._process.stdout.readline())

    async def kill(self):
        self._process.kill()
        *lines, _cut = (await self._process.stdout.read()).split(b"\n")
        for line in lines:
            self._note(line)
        assert await self._process.wait() == -9

    def _note(self, line):
        epoch, sequence, name = line.decode().split()
        assert self.kept.setdefault((int(epoch), int(sequence)), name) == name


async def ask_for_what_is_missing(place, lives, listener):
    """Do as the ledger does, until nothing is missing."""
    async with asyncio.timeout(60):
        while missing := sorted(sequence for _, sequence in lives.kept.keys() - set(listener.names)):
            ranges = joined(missing[:1000])[:100]
            await asyncio.to_thread(place.say, RESEND, {"epoch": EPOCH, "ranges": ranges})
            await asyncio.sleep(0.5)


@pytest.mark.slow
async def test_whoever_is_killed_every_message_arrives_and_none_under_two_stamps(tmp_path):
    (folder := tmp_path / "agent").mkdir()
    chance = random.Random(11)
    async with agent_place(tmp_path) as place:
        listener, lives = Listener(place.broker), Lives(folder, place)
        listener.start()
        for seed in range(LIVES):
            await lives.begin(seed)
            await lives.hear(chance.randint(1, 120))
            if seed % 4 == 1:
                await place.kill()
                await lives.hear(chance.randint(1, 60))
                await place.broker.server.start()
                await lives.hear(chance.randint(1, 120))
            await lives.kill()
        await lives.begin(LIVES, messages=1)
        await ask_for_what_is_missing(place, lives, listener)
        await lives.kill()
        listener.ended.set()

    assert len(lives.kept) > LIVES * 30
    assert {stamp: listener.names[stamp] for stamp in lives.kept} == {
        stamp: {name} for stamp, name in lives.kept.items()
    }
    arrived = [name for names in listener.names.values() for name in names]
    assert len(arrived) == len(set(arrived)) == len(listener.names)
