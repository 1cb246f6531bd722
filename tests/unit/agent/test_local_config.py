"""The agent's settings that are changed on the device."""

from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.local_config.config import LocalConfig, OptionUnknown, Source, ValueInvalid
from iotistic.agent.local_config.options import OPTIONS
from iotistic.agent.store.errors import StoreUnavailable
from iotistic.agent.store.store import Store
from iotistic.entrypoints.agent.settings import AgentProcessSettings
from iotistic.kernel.errors import Invalid


@pytest.fixture
async def disk(tmp_path):
    store = await Store.open(tmp_path / "agent.sqlite")
    yield store.metadata
    await store.close()


async def test_what_is_set_here_goes_before_the_environment_and_that_before_the_default(disk):
    config = await LocalConfig.open(disk, {"POLL_INTERVAL_MS": 5000})
    assert (config.get("DEVICE_NAME").value, config.get("DEVICE_NAME").source) == ("device", Source.DEFAULT)
    assert config.get("POLL_INTERVAL_MS").source is Source.ENVIRONMENT
    change = await config.set({"poll_interval_ms": "7000", "ENABLE_CLOUD_JOBS": "on"})

    assert set(change.changed) == set(change.needs_restart) == {"POLL_INTERVAL_MS", "ENABLE_CLOUD_JOBS"}
    again = await LocalConfig.open(disk, {"POLL_INTERVAL_MS": 5000})
    assert again.local == {"POLL_INTERVAL_MS": 7000, "ENABLE_CLOUD_JOBS": True}
    await again.reset("POLL_INTERVAL_MS")
    assert again.get("POLL_INTERVAL_MS").value == 5000
    assert (await again.reset()).changed == ("ENABLE_CLOUD_JOBS",)
    assert (await LocalConfig.open(disk, {})).local == {}


async def test_a_listener_makes_a_change_take_effect_at_once(disk):
    heard = []

    async def listen(value):
        heard.append(value)

    config = await LocalConfig.open(disk, {}, {"LOG_LEVEL": listen})
    change = await config.set({"LOG_LEVEL": "DEBUG", "MAX_LOGS": 50})
    await config.set({"LOG_LEVEL": "debug"})

    assert heard == ["debug"]
    assert (change.changed, change.needs_restart) == (("LOG_LEVEL", "MAX_LOGS"), ("MAX_LOGS",))


async def test_a_listener_that_refuses_leaves_the_value_for_the_next_start(disk):
    async def refuse(_value):
        raise Invalid("not now")

    config = await LocalConfig.open(disk, {}, {"LOG_LEVEL": refuse})

    assert (await config.set({"LOG_LEVEL": "debug"})).needs_restart == ("LOG_LEVEL",)
    assert config.get("LOG_LEVEL").value == "debug"


async def test_one_wrong_value_refuses_all_and_tells_every_fault(disk):
    config = await LocalConfig.open(disk, {})
    wrong = {"LOG_LEVEL": "loud", "MAX_LOGS": "²", "DEVICE_NAME": "pump"}
    with pytest.raises(ValueInvalid) as refused:
        await config.set(wrong)
    with pytest.raises(OptionUnknown):
        await config.set({"DEVICE_NAME": "pump", "PASSWORD": "x"})

    assert refused.value.fields["faults"].keys() == {"LOG_LEVEL", "MAX_LOGS"}
    assert config.local == {}


@pytest.mark.parametrize(
    "url",
    [
        "cloud.example",
        "ftp://cloud.example",
        "https://",
        "https://u:p@cloud.example",
        "https://c.example?a=1",
        "http://c:99999",
        "http://[::1",
        "http://c\n.example",
        7,
        None,
    ],
)
async def test_what_is_no_address_of_a_cloud_is_refused(disk, url):
    config = await LocalConfig.open(disk, {})
    with pytest.raises(ValueInvalid):
        await config.set({"CLOUD_API_ENDPOINT": url})


async def test_a_disk_that_takes_no_writes_changes_nothing(disk, monkeypatch):
    async def refuse(_name, _value):
        raise StoreUnavailable("the disk is full")

    config = await LocalConfig.open(disk, {})
    monkeypatch.setattr(disk, "put", refuse)
    with pytest.raises(StoreUnavailable):
        await config.set({"DEVICE_NAME": "pump"})

    assert config.get("DEVICE_NAME").value == "device"


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@given(st.sampled_from(sorted(OPTIONS)), values)
def test_whatever_is_read_can_be_kept_and_is_read_again_as_the_same(name, value):
    option = OPTIONS[name]
    try:
        read = option.read(value)
    except ValueError:
        return

    assert isinstance(read, str | int)
    assert option.read(read) == read


@pytest.mark.parametrize("option", OPTIONS.values(), ids=lambda option: option.name)
def test_every_default_is_a_value_that_could_be_set(option):
    assert option.read(option.default) == option.default
    assert option.summary


@given(st.dictionaries(st.sampled_from([*OPTIONS, "GONE"]), values))
async def test_garbage_on_the_disk_is_passed_over(kept):
    class Disk:
        async def load(self):
            return {"local_config": kept}

    config = await LocalConfig.open(Disk(), {})

    assert len(config.all()) == len(OPTIONS)


def test_the_defaults_that_are_shown_are_those_that_are_in_force():
    settings = AgentProcessSettings()
    differing = {
        name: option.default
        for name, option in OPTIONS.items()
        if name != "DEVICE_NAME"  # without one a device is named as it is provisioned
        and hasattr(settings, name.lower())
        and _plain(getattr(settings, name.lower())) != option.default
    }

    assert differing == {}


def _plain(value):
    return value.value if isinstance(value, Enum) else value
