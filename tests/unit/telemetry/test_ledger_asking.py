"""What goes to thousands of senders at once goes a few at a time: the broker and this process have others to serve."""

import asyncio

import pytest

from iotistic.kernel.errors import Unavailable
from iotistic.telemetry.ledger.asking import few_at_a_time


class Post:
    """Takes messages, each for a turn of the loop; the one named `refused` fails."""

    def __init__(self, refused=None):
        self.refused, self.taken, self.under_way, self.most_under_way = refused, [], 0, 0

    async def send(self, row):
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if row == self.refused:
            raise Unavailable("away")
        self.taken.append(row)


async def test_every_message_goes_out_once_and_few_of_them_at_a_time():
    post = Post()
    await few_at_a_time(post.send, range(1000))

    assert sorted(post.taken) == list(range(1000))
    assert post.most_under_way <= 50


async def test_a_broker_that_goes_away_ends_it():
    post = Post(refused=110)
    with pytest.raises(Unavailable):
        await few_at_a_time(post.send, range(1000))

    assert len(post.taken) < 200
