"""Forecasts on the device: a forecaster that the cloud ships is taken when the installation has signed it."""

import sys
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.agent.anomaly_rig import AnomalyRig
from tests.unit.detection.forecast_builders import made_weights

from iotistic.agent.anomalies.config import AnomalyConfig
from iotistic.agent.device_config import read_device_config
from iotistic.contracts.forecasts import ForecastWish
from iotistic.detection.forecaster import pack
from iotistic.pki.ca import CertificateAuthority


def authority():
    key = ec.generate_private_key(ec.SECP256R1())
    return CertificateAuthority.create(key, common_name="CA", days=1, now=datetime(2026, 1, 1, tzinfo=UTC))


OURS, OTHERS = authority(), authority()


def shipped(by=OURS, weight=0.0):
    """Return the part of a target's configuration that is about anomalies, as a device reads it."""
    wish = ForecastWish(pack(made_weights(), {}, by.sign), weight)
    config, faults = read_device_config(wish.write())
    assert faults == []
    return config.anomalies


@pytest.fixture
def rig(tmp_path):
    return AnomalyRig(tmp_path)


@pytest.fixture
async def watch(rig):
    async with rig.running() as watch:
        yield watch


async def settled(rig, watch, status):
    await rig.until(lambda: watch.status()["forecaster"] == status)


async def test_a_forecaster_of_the_installation_is_taken_and_what_was_learned_goes_on(rig, watch):
    await rig.learned()
    watch.configure(cloud=shipped(weight=0.5), ca_pem=OURS.pem)
    await settled(rig, watch, "in force")
    await rig.feed([*rig.usual(60), 95.0])

    assert watch.status()["engine"] == "forecasts"
    assert watch.memory.standing("cpu_usage").seen == 361
    assert [one.incident.event.value for one in watch.recent(10)] == [95.0]
    assert watch.memory._watches.detector("cpu_usage").constants.forecast_weight == 0.5
    assert watch.memory._watches.detector("cpu_usage").gauges.errors > 40


async def test_what_was_learned_with_forecasts_goes_on_after_a_restart_and_without_them(rig):
    async with rig.running() as watch:
        watch.configure(cloud=shipped(weight=1.0), ca_pem=OURS.pem)
        await rig.learned()
    async with rig.running() as watch:
        watch.configure(cloud=shipped(weight=1.0), ca_pem=OURS.pem)
        await rig.feed(rig.usual(10))
        assert watch.memory.standing("cpu_usage").seen == 310
        watch.configure(cloud=read_device_config({"config": {}})[0].anomalies)
        await settled(rig, watch, "none")
        await rig.feed(rig.usual(10))

        assert watch.memory.standing("cpu_usage").seen == 320
        assert watch.status()["engine"] == "singles"


@pytest.mark.parametrize(
    ("by", "trusted", "code"),
    [
        (OTHERS, OURS.pem, "anomalies.forecaster_not_trusted"),
        (OURS, "", "forecast.trust_invalid"),
    ],
    ids=["signed by others", "no CA"],
)
async def test_one_that_is_not_trusted_is_refused_and_detection_goes_on(rig, watch, by, trusted, code):
    watch.configure(cloud=shipped(by), ca_pem=trusted)
    await settled(rig, watch, code)
    await rig.learned()
    await rig.feed([95.0])

    told = watch.report()["anomaly_detection"]
    assert watch.status()["engine"] == "singles"
    assert len(watch.recent(10)) == 1
    assert (told["forecaster"], told["forecaster_reason"] != "") == (code, True)


async def test_it_is_tried_again_once_the_authority_is_known(rig, watch):
    watch.configure(cloud=shipped(), ca_pem="")
    await settled(rig, watch, "forecast.trust_invalid")
    watch.configure(ca_pem=OURS.pem)

    await settled(rig, watch, "in force")


async def test_without_numpy_it_is_refused_and_detection_goes_on(rig, watch, monkeypatch):
    wished = shipped()
    monkeypatch.delitem(sys.modules, "iotistic.agent.anomalies.equipping", raising=False)
    monkeypatch.delitem(sys.modules, "iotistic.detection.foreseen", raising=False)
    monkeypatch.delitem(sys.modules, "iotistic.detection.forecast", raising=False)
    monkeypatch.setitem(sys.modules, "numpy", None)
    watch.configure(cloud=wished, ca_pem=OURS.pem)

    await settled(rig, watch, "anomalies.numpy_missing")
    watch.configure(cloud=AnomalyConfig())
    await settled(rig, watch, "none")
    assert watch.report() == {"anomaly_detection": {"state": "on", "forecaster": "none"}}


@pytest.mark.parametrize("said", ["QQ==", {"file": "no base64"}, {"file": "QQ==", "weight": -1}])
def test_a_wish_that_makes_no_sense_is_told_by_its_path(said):
    config, faults = read_device_config({"config": {"anomalyDetection": {"forecaster": said}}})

    assert config.anomalies.forecaster is None
    assert [fault.path for fault in faults] == ["config.anomalyDetection.forecaster"]


async def test_a_file_that_is_none_is_refused(rig, watch):
    document = ForecastWish(b"no file at all").write()
    watch.configure(cloud=read_device_config(document)[0].anomalies, ca_pem=OURS.pem)

    await settled(rig, watch, "anomalies.forecaster_unusable")
