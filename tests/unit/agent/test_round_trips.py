"""How long the broker takes to answer."""

import asyncio

from iotistic.agent.link.round_trips import RoundTrips


async def test_the_last_answer_is_measured_and_given_once():
    now = [10.0]
    trips, answers = (
        RoundTrips(lambda: now[0]),
        [asyncio.get_running_loop().create_future() for _ in range(3)],
    )
    for answer in answers:
        trips.watch(answer)
    now[0] += 0.25
    answers[0].set_result(None)
    await asyncio.sleep(0)
    first, then = trips.take(), trips.take()
    answers[1].set_exception(OSError())
    answers[2].cancel()
    await asyncio.sleep(0)

    assert (first, then, trips.take()) == (0.25, None, None)
