"""How a forecaster stands in a target, and whose signature counts."""

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from iotistic.contracts.forecast_trust import TrustInvalid, verify_key
from iotistic.contracts.forecasts import (
    FIELD,
    MOST_BYTES,
    MOST_WEIGHT,
    SECTION,
    ForecastWish,
    read_forecast,
    without_file,
)
from iotistic.detection import constants, forecaster
from iotistic.pki.ca import CertificateAuthority


def test_what_is_written_is_read():
    wish = ForecastWish(b"\x00file", weight=0.5)

    assert read_forecast(wish.write()["config"][SECTION][FIELD]) == wish
    assert read_forecast({"file": "AGZpbGU="}) == ForecastWish(b"\x00file", weight=0.0)


@pytest.mark.parametrize("file", [None, 5, "not base64!", "é", "QQ", "A" * (MOST_BYTES * 4 // 3 + 8)])
def test_what_is_no_file_is_refused(file):
    with pytest.raises(ValueError, match="base64"):
        read_forecast({"file": file})


@pytest.mark.parametrize("weight", [None, True, "1", -0.1, 101, float("nan")])
def test_what_is_no_weight_is_refused(weight):
    with pytest.raises(ValueError, match="weight"):
        read_forecast({"file": "QQ==", "weight": weight})


@pytest.mark.parametrize("value", [None, "QQ==", [], {}, {"weight": 1}, {"file": "QQ==", "kind": "lstm"}])
def test_what_is_no_wish_is_refused(value):
    with pytest.raises(ValueError, match="object"):
        read_forecast(value)


def test_a_device_reads_as_much_as_the_detection_takes():
    assert forecaster.MOST_BYTES == MOST_BYTES
    assert constants.LARGEST_WEIGHT == MOST_WEIGHT


def test_the_key_is_that_of_the_certificate_that_a_device_trusts():
    key = ec.generate_private_key(ec.SECP256R1())
    made = CertificateAuthority.create(key, common_name="CA", days=1, now=datetime(2026, 1, 1, tzinfo=UTC))

    assert verify_key(made.pem) == key.public_key()


@pytest.mark.parametrize(
    "pem", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----"]
)
def test_what_is_no_certificate_is_refused(pem):
    with pytest.raises(TrustInvalid):
        verify_key(pem)


def test_devices_tell_a_digest_instead_of_the_file_and_leave_the_rest_as_it_is():
    config = ForecastWish(b"weights" * 4000, 0.5).write()["config"]
    config["anomalyDetection"]["enabled"] = True
    told = without_file(config)["anomalyDetection"]

    assert told == {"enabled": True, "forecaster": {"file": told["forecaster"]["file"], "weight": 0.5}}
    assert told["forecaster"]["file"].startswith("sha256:")
    assert len(config["anomalyDetection"]["forecaster"]["file"]) > 30_000


@pytest.mark.parametrize(
    "config", [None, [], {}, {"anomalyDetection": 1}, {"anomalyDetection": {"forecaster": []}}]
)
def test_a_configuration_without_a_file_is_told_as_it_is(config):
    assert without_file(config) is config
