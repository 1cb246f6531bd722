"""`iotistic train` from a file and from readings to what a device accepts."""

import json
import math
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from iotistic.contracts.forecast_trust import verify_key
from iotistic.contracts.forecasts import FIELD, SECTION, read_forecast
from iotistic.detection.forecast import Weights
from iotistic.detection.forecaster import Forecaster, SignatureWrong, pack
from iotistic.entrypoints.training import NoDatabase, TrainSettings, readings_of
from iotistic.kernel.home import Home
from iotistic.kernel.postgres.pool import open_connection
from iotistic.pki.keystore import open_authority
from iotistic.pki.settings import AuthoritySettings
from iotistic.training.readings import NoReadings

QUICK = ("--epochs", "2", "--units", "3", "--window", "32")
READINGS = """
    INSERT INTO devicetypes (id, typename) VALUES (9001, 'made');
    INSERT INTO devicetemplates (id, name, devicetypeid) VALUES (9001, 'made', 9001);
    INSERT INTO devices (id, devicename, devicetemplateid) VALUES (9001, 'one', 9001), (9002, 'two', 9001);
    INSERT INTO datapoints (id, devicetemplateid, label) VALUES (9001, 9001, 'heat');
    INSERT INTO device_datapoints (device_id, datapoint_id) VALUES (9001, 9001), (9002, 9001);
    SELECT ensure_partitions(ARRAY['2026-01-02'::date]);
    INSERT INTO decoded_data ("timestamp", device_id, datapoint_id, value)
    SELECT '2026-01-02T00:00Z'::timestamptz + i * interval '1 minute', 9001, 9001, i
    FROM generate_series(0, 9) AS i
"""


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def authority(home):
    home.create()
    return open_authority(home, AuthoritySettings())


@pytest.fixture
def data(tmp_path):
    began = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [f"{(began + timedelta(minutes=i)).isoformat()},{math.sin(i / 9):.6f}" for i in range(400)]
    path = tmp_path / "metric.csv"
    path.write_text("\n".join(["timestamp,value", *rows]))
    return path


def train(home, *words, **environment):
    """Run `iotistic train` and return (exit code, what it printed, its error if it had one)."""
    ended = subprocess.run(
        [sys.executable, "-m", "iotistic", "train", *map(str, words), "--json"],
        env={**os.environ, "IOTISTIC_HOME": str(home.path), "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_file_becomes_a_forecaster_that_devices_take(home, authority, data, tmp_path):
    out = tmp_path / "made.npz"
    code, printed, error = train(home, "forecast", "--data", data, "--out", out, *QUICK)
    assert (code, error) == (0, b"")
    told = json.loads(printed)
    _, shown, _ = train(home, "show", out, "--target", "--weight", "0.5")
    shipped = read_forecast(json.loads(shown)["config"][SECTION][FIELD])

    assert told["signed"]
    assert told["bytes"] == out.stat().st_size < 32_768
    assert (shipped.file, shipped.weight) == (out.read_bytes(), 0.5)
    assert Forecaster.load(shipped.file, verify_key(authority.pem)).about["recipe"]["units"] == 3


def test_a_file_made_elsewhere_is_taken_once_it_is_signed_here(home, authority, tmp_path):
    out, key = tmp_path / "made.npz", verify_key(authority.pem)
    out.write_bytes(pack(Weights(np.ones((12, 6)), np.ones(4), 0.01), {}, None))
    with pytest.raises(SignatureWrong):
        Forecaster.load(out.read_bytes(), key)
    refused, _, error = train(home, "show", out, "--target")
    signed, _, _ = train(home, "sign", out)

    assert refused == 2
    assert json.loads(error)["error"]["reason"] == "forecast.signature_invalid"
    assert signed == 0
    assert Forecaster.load(out.read_bytes(), key).weights.units == 3


def test_where_there_is_no_authority_none_is_made_to_sign(home, tmp_path, data):
    out = tmp_path / "made.npz"
    out.write_bytes(b"something")
    code, _, error = train(home, "sign", out)

    assert code == 4
    assert json.loads(error)["error"]["code"] == "train.authority_missing"
    assert not home.ca_certificate.exists()


def test_without_the_extra_it_says_what_to_install(home, data, tmp_path):
    (tmp_path / "jax.py").write_text("raise ModuleNotFoundError(\"No module named 'jax'\", name='jax')")
    code, _, error = train(home, "forecast", "--data", data, *QUICK, PYTHONPATH=str(tmp_path))

    assert code == 6
    assert "iotistic[train]" in json.loads(error)["error"]["hint"]


def test_either_a_file_or_the_database_is_to_be_chosen(home):
    assert json.loads(train(home, "forecast")[2])["error"]["code"] == "train.data_not_chosen"


@pytest.fixture
def fleet(postgres_runner, database):
    """A database with ten minutes of one device, and another device that never sent."""

    async def fill():
        connection = await open_connection(database, application_name="test")
        await connection.execute(READINGS)
        await connection.close()

    postgres_runner.run(fill())
    return TrainSettings(database_url=database.url, database_password=database.password)


def test_readings_of_a_fleet_are_series_by_device_and_label(fleet):
    since = datetime(2026, 1, 2, 0, 5, tzinfo=UTC)

    assert readings_of(fleet, device="one", metric="heat", since=since) == {
        "one/heat (9001)": [5.0, 6.0, 7.0, 8.0, 9.0]
    }
    assert len(readings_of(fleet, device=None, metric=None, since=since)) == 1


@pytest.mark.parametrize("chosen", [("two", None), ("one", "cold"), ("'; --", None)])
def test_readings_that_are_not_there_are_said_to_be_missing(fleet, chosen):
    device, metric = chosen
    with pytest.raises(NoReadings):
        readings_of(fleet, device=device, metric=metric, since=datetime(2026, 1, 1, tzinfo=UTC))


def test_without_a_database_it_says_how_to_start_one(home):
    settings = TrainSettings(iotistic_home=home.path)
    with pytest.raises(NoDatabase) as refused:
        readings_of(settings, device=None, metric=None, since=datetime(2026, 1, 1, tzinfo=UTC))

    assert "iotistic up" in refused.value.hint
