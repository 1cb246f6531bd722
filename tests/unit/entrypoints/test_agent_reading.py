"""The agent's settings, read by a process of their own; each test runs in processes of its own."""

import os
import subprocess
import sys

import pytest

READ_HERE = """
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.kernel.settings import load_settings
settings = load_settings(AgentProcessSettings, agent_engine="simulated")
"""
READ_APART = """
from iotistic.entrypoints.agent.engine_kind import EngineKind
from iotistic.entrypoints.agent.reading import Reading
settings = Reading(EngineKind("simulated")).settings()
"""
SHOW = """
local = settings.with_local({"ANOMALY_MIN_CONFIDENCE": 0.9, "MAX_LOGS": 7, "of another release": 1})
for one in (settings, local):
    print({name: getattr(one, name) for name in type(one).model_fields})
    print(sorted(one.model_fields_set), sorted(one.given().items()), one.data)
    print(one.policy, one.given_key, one.shipping, one.own_broker(), one.provisioning_request())
    print(one.anomaly_config, one.simulation, one.gathering, one.container_log_limits, one.log_level)
"""
SAID = {
    "API_KEY": "0123456789abcdef",
    "API_SECURITY_MODE": "local_network",
    "LOG_LEVEL": "WARNING",
    "MAX_LOG_FILE_SIZE": "5MB",
    "MAX_LOGS": "12",
    "MQTT_PASSWORD": "secret",
    "PROVISIONING_KEY": "key",
    "POLL_INTERVAL_MS": "5000",
}


def run(*words, **said):
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **said},
    )


def test_settings_that_another_process_read_are_as_if_they_were_read_here():
    here, apart = (run("-c", how + SHOW, **SAID) for how in (READ_HERE, READ_APART))

    assert here.returncode == apart.returncode == 0, apart.stderr
    assert "SecretStr('**********')" in apart.stdout
    assert apart.stdout == here.stdout


def test_every_fault_is_named_as_ever():
    done = run("-m", "iotistic", "agent-process", POLL_INTERVAL_MS="5", DEVICE_API_PORT="none")

    assert done.returncode == 2
    assert "2 setting(s) have faults" in done.stderr
    assert "POLL_INTERVAL_MS: " in done.stderr
    assert "DEVICE_API_PORT: " in done.stderr


@pytest.mark.parametrize("ending", ["raise SystemExit", "os.kill(os.getpid(), 9)", "1 / 0"])
def test_a_reader_that_ends_early_ends_the_agent_with_a_reason(ending):
    done = run(
        "-c",
        "import os, types\n"
        "from iotistic.entrypoints.agent import reading\n"
        f"def ends(_): {ending}\n"
        "reading.importlib = types.SimpleNamespace(import_module=lambda _: types.SimpleNamespace(tell=ends))\n"
        "try: reading.Reading(None).settings()\n"
        "except reading.SettingsNotRead as exc: print(exc.code)",
    )

    assert done.stdout == "agent.settings_not_read\n"


def test_nothing_is_read_or_changed_where_settings_are_only_held():
    done = run(
        "-c",
        READ_APART + "for deed in (lambda: type(settings)(), lambda: setattr(settings, 'max_logs', 1)):\n"
        "    try: deed()\n"
        "    except (TypeError, AttributeError) as exc: print(exc)",
    )

    assert done.stdout.splitlines() == [
        "AgentProcessSettings is not read in a process that only holds settings",
        "AgentProcessSettings is frozen: max_logs cannot be set",
    ]
