"""Killed processes, a killed Kafka, and one that does not answer: what was acknowledged is stored once."""

import asyncio
import itertools
import os
import signal
import threading

from pipeline_builders import all_stored, closed_table, publish, stored, until

KILLS = int(os.environ.get("FAULT_KILLS", "4"))
LOAD_S = 0.2  # between kills


class Load(threading.Thread):
    """Publishes numbers until told to end; `numbers` are those that the broker acknowledged."""

    def __init__(self, client, base_us):
        super().__init__(daemon=True)
        self._client, self._base_us = client, base_us
        self._ending = threading.Event()
        self.numbers = 0

    def run(self):
        while not self._ending.wait(0.001):
            device = f"d{self.numbers % 7}"
            publish(self._client, [self.numbers], device=device, base_us=self._base_us)
            self.numbers += 1

    def finish(self):
        self._ending.set()
        self.join(10)
        assert not self.is_alive()
        return range(self.numbers)


async def test_every_acknowledged_message_is_stored_once_whoever_is_killed(
    pipeline, kafka, own_broker, pool, now_us
):
    stages = dict(zip(("connector", "processor", "sink"), await pipeline.start_all(), strict=True))
    load = Load(own_broker.service("publisher"), now_us)
    load.start()
    order = itertools.islice(itertools.cycle(("connector", "kafka", "processor", "sink")), KILLS)
    for victim in order:
        await asyncio.sleep(LOAD_S)
        if victim == "kafka":
            kafka.nodes[0].kill()
            kafka.nodes[0].start()
        else:
            stages[victim].kill()
            stages[victim] = pipeline.start(victim)
    numbers = load.finish()

    await all_stored(pool, numbers, explain=lambda: "".join(stage.log[-800:] for stage in stages.values()))
    assert await stored(pool) == list(numbers)
    assert await pool.fetchval("SELECT count(*) FROM dead_letters") == 0


async def test_nothing_is_acknowledged_to_the_broker_before_kafka_has_it(pipeline, kafka, own_broker, now_us):
    connector = pipeline.start("connector")
    await until(connector.ready)
    kafka.nodes[0].process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(50), base_us=now_us)
        await until(lambda: connector.health().get("checks", {}).get("kafka") not in (None, "ok"))
        connector.kill()
    finally:
        kafka.nodes[0].process.send_signal(signal.SIGCONT)
    await until(pipeline.start("connector").ready)

    await until(lambda: len({value for _, _, _, value in pipeline.payloads(pipeline.raw)}) == 50)


async def test_kafka_may_be_away_at_the_start_and_everything_goes_on_by_itself(
    pipeline, kafka, own_broker, pool, now_us
):
    kafka.nodes[0].kill()
    stages = [pipeline.start(kind) for kind in ("connector", "processor", "sink")]
    try:
        for stage in stages:
            await until(lambda stage=stage: stage.url and stage.health().get("checks", {}).get("kafka"))
            assert not stage.health()["ready"]
        await until(lambda: stages[0].health()["checks"]["broker"] == "ok")
        await asyncio.to_thread(publish, own_broker.service("publisher"), range(20), base_us=now_us)
    finally:
        kafka.nodes[0].start()
        kafka.wait()

    await all_stored(pool, range(20), explain=lambda: "".join(stage.log[-800:] for stage in stages))
    assert await stored(pool) == list(range(20))


async def test_a_database_that_stands_still_pauses_reading_and_costs_no_partitions(
    pipeline, own_broker, database, pool, now_us
):
    _, _, sink = await pipeline.start_all(FLUSH_INTERVAL="0.01", BATCH_SIZE="5")
    client = own_broker.service("publisher")
    async with closed_table(database, "decoded_data"):
        await asyncio.to_thread(publish, client, range(60), base_us=now_us)
        await until(lambda: sink.metric("iotistic_kafka_pauses_total") > 0)
        rebalances = sink.metric("iotistic_kafka_rebalances_total")
        await asyncio.to_thread(publish, client, range(60, 80), base_us=now_us)
        await asyncio.sleep(2)  # longer than a session: a silent member would have been put out
        held = sink.metric("iotistic_kafka_rebalances_total")

    await all_stored(pool, range(80))
    assert held == rebalances
    assert await stored(pool) == list(range(80))
