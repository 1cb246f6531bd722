"""Failures of the earlier system that no other test is named for; tests/cases/lessons.json has all of them."""

import time

from device_cloud import Device, build, served
from job_cloud import JobCloud, document
from job_cloud import served as jobs_served

from iotistic.control.broker.model import Access
from iotistic.control.broker.service import MqttUserService
from iotistic.kernel.mosquitto.agent_rights import agent_rules


async def test_lesson_6_a_device_key_costs_no_slow_hash(pool):
    """bcrypt on each poll: 17 polls a second, and a thousand devices filled a machine."""
    async with served(build(pool)) as cloud:
        device = Device(cloud, await cloud.key())
        await device.provision()
        etag = (await device.poll()).headers["ETag"]
        begun = time.process_time()
        statuses = {(await device.poll(etag)).status_code for _ in range(100)}
        spent_s = time.process_time() - begun

    assert statuses == {304}
    # 100 checks of bcrypt at cost 10 take some 6 s of a processor; these, with client and server, a few tenths.
    assert spent_s < 3


class Counting:
    """A pool that counts what is asked of it."""

    def __init__(self, pool):
        self._pool, self.asked = pool, 0

    def __getattr__(self, name):
        self.asked += name in {"fetch", "fetchrow", "fetchval", "execute", "acquire"}
        return getattr(self._pool, name)


async def test_lesson_7_a_list_of_mqtt_users_asks_as_much_for_many_as_for_few(pool):
    """One query for the rules of each user."""
    asked = []
    for number in range(4):
        user = await MqttUserService(pool).create(
            f"user-{number}", None, is_superuser=False, is_active=True, by="test"
        )
        await MqttUserService(pool).add_acl(user.user.id, "a/#", Access.READ, 0, by="test")
        counting = Counting(pool)
        assert len(await MqttUserService(counting).list_all()) == number + 1
        asked.append(counting.asked)

    assert asked == [1] * 4


async def test_lesson_15_devices_are_told_of_a_job_that_a_schedule_made(pool):
    """The scheduler made jobs and told nobody."""
    async with jobs_served(JobCloud(pool)) as cloud:
        device = await cloud.device()
        answer = await cloud.ask(
            "POST",
            "/jobs/schedules",
            {
                "job_name": "nightly",
                "job_document": document(),
                "target_type": "all",
                "schedule_type": "interval",
                "interval_minutes": 5,
            },
        )
        await cloud.tick(minutes=6)
        await cloud.tick()

        assert answer.status_code == 201, answer.text
        assert [topic for topic, _ in cloud.broker.take()] == [f"iot/device/{device.uuid}/jobs/notify-next"]


def test_lesson_16_a_device_may_read_where_a_new_key_is_announced():
    """The notice went to a topic that the device's own rules closed to it."""
    assert ("read", "device/some-uuid/config/#") in list(agent_rules("some-uuid"))
