"""What is set on the device is in force after the next start, whichever part it is for."""

import logging

import structlog

from iotistic.entrypoints.agent.opening import open_process
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.kernel.settings import load_settings


async def test_settings_of_parts_that_are_made_first_are_in_force_too(tmp_path):
    settings = load_settings(AgentProcessSettings, agent_engine="simulated", config_dir=tmp_path)
    wanted = {
        "RECONCILIATION_INTERVAL_MS": 7000,
        "DISK_WATERMARK_PERCENT": 1,
        "MAX_LOGS": 12,
        "LOG_LEVEL": "error",
    }
    before = structlog.get_config()["wrapper_class"]
    try:
        async with open_process(settings, tmp_path, follows_cloud=True) as process:
            await process.config.set(wanted)
        async with open_process(settings, tmp_path, follows_cloud=True) as process:
            level = structlog.get_config()["wrapper_class"]
            for number in range(20):
                structlog.get_logger().error("line.said", number=number)

            assert process.agent.reconciler.look_every_s == 7
            assert process.agent.around.disk_is_full()
            assert len(process.hub.recent(100)) == 12
            assert level is structlog.make_filtering_bound_logger(logging.ERROR)
    finally:
        structlog.configure(wrapper_class=before)
