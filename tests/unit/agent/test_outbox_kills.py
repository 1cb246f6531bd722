"""kill -9 at any point, over and over on one file: nothing that was said to be kept is lost, nothing comes twice."""

import asyncio
import multiprocessing
import os
import random
import select
import time
from dataclasses import dataclass, field

from iotistic.agent.store.outbox_rows import Letter, Stamp
from iotistic.agent.store.store import Store

KILLS = 120
LONGEST_S = 0.06
EPOCHS = range(1000, 1010)
"""A kill between the file of epochs and the first message costs one."""
_FORK = multiprocessing.get_context("fork")


@dataclass
class Ledger:
    """What the children said, and what they only began."""

    kept: dict[Stamp, str] = field(default_factory=dict)
    confirming: set[Stamp] = field(default_factory=set)
    confirmed: set[Stamp] = field(default_factory=set)

    def hear(self, said):
        for line in said.splitlines():
            word, epoch, sequence, *rest = line.split()
            stamp = Stamp(int(epoch), int(sequence))
            match word:
                case "kept":
                    assert self.kept.setdefault(stamp, rest[0]) == rest[0]
                case "confirming":
                    self.confirming.add(stamp)
                case _:
                    self.confirmed.add(stamp)


async def work(folder, say, seed):
    """Append from several places at once, and confirm what was taken from the front."""
    chance = random.Random(seed)
    store = await Store.open(folder / "agent.sqlite", clock=lambda: 1000.0)

    async def append(lane):
        for count in range(10_000):
            name = f"{seed}-{lane}-{count}"
            letters = [Letter(name, name.encode() * chance.randint(1, 400))]
            (stamp,) = await store.outbox.append(letters)
            say(f"kept {stamp.epoch} {stamp.sequence} {name}\n")

    async def confirm():
        while True:
            taken = await store.outbox.waiting(chance.randint(1, 8))
            await store.outbox.sent(message.stamp for message in taken)
            for message in taken:
                say(f"confirming {message.stamp.epoch} {message.stamp.sequence}\n")
            for epoch in {one.stamp.epoch for one in taken}:
                numbers = [one.stamp.sequence for one in taken if one.stamp.epoch == epoch]
                await store.outbox.confirm(epoch, [(number, number) for number in numbers])
            for message in taken:
                say(f"confirmed {message.stamp.epoch} {message.stamp.sequence}\n")
            await asyncio.sleep(0)

    await asyncio.gather(append("a"), append("b"), append("c"), confirm())


def child(folder, writing, seed):
    asyncio.run(work(folder, lambda line: os.write(writing, line.encode()), seed))


def live_and_die(folder, seed, chance):
    """Run a child, kill it after a while, and return what it said until then."""
    reading, writing = os.pipe()
    process = _FORK.Process(target=child, args=(folder, writing, seed))
    process.start()
    os.close(writing)
    said, until = b"", time.monotonic() + 0.01 + chance.random() * LONGEST_S
    while (left := until - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        said += os.read(reading, 65536)
    process.kill()
    while more := os.read(reading, 65536):
        said += more
    os.close(reading)
    process.join(10)
    code = process.exitcode
    process.close()
    assert code == -9
    return said.decode()


async def everything(folder, ledger):
    """Check what there is, and confirm all of it."""
    store = await Store.open(folder / "agent.sqlite", clock=lambda: 1000.0)
    messages, after = [], None
    while some := await store.outbox.waiting(500, after=after):
        messages += some
        after = some[-1].stamp
    sent = []
    for epoch in EPOCHS:
        sent += (await store.outbox.again(epoch, [(1, 10**6)], limit=10**6)).messages
    check(ledger, messages, sent)
    for epoch in EPOCHS:
        await store.outbox.confirm(epoch, [(1, 10**6)])
    ledger.confirmed |= {message.stamp for message in (*messages, *sent)}
    await store.close()


def check(ledger, messages, sent):
    found = {message.stamp: message.topic for message in (*messages, *sent)}
    topics = [message.topic for message in (*messages, *sent)]
    surely = ledger.kept.keys() - ledger.confirming - ledger.confirmed

    assert len(topics) == len(set(topics))
    assert surely - found.keys() == set()
    assert found.keys() & ledger.confirmed == set()
    assert [one for one in surely if found[one] != ledger.kept[one]] == []
    assert [message.stamp for message in messages] == sorted(message.stamp for message in messages)
    for message in (*messages, *sent):
        assert message.payload.replace(message.topic.encode(), b"") == b""
        assert ledger.kept.setdefault(message.stamp, message.topic) == message.topic


def test_no_message_is_lost_or_comes_twice_over_120_kills(tmp_path):
    ledger, chance = Ledger(), random.Random(7)
    for seed in range(KILLS):
        ledger.hear(live_and_die(tmp_path, seed, chance))
        if seed % 5 == 4:
            asyncio.run(everything(tmp_path, ledger))

    assert len(ledger.kept) > KILLS
    assert len(ledger.confirmed) > KILLS
    assert len(set(ledger.kept.values())) == len(ledger.kept)
