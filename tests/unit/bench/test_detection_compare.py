"""Peers of the detector: fed like it, fairly muted, and told when they are not there."""

import io

import numpy as np
import pytest
from benchmarks import detection_compare
from benchmarks.detection_compare import compare, lines, muted
from benchmarks.detection_data import labelled_data
from benchmarks.detection_peers import INSTALL, Peer, ZScore
from benchmarks.detection_plateaus import FACTORS, RAW, SCALED, scaled
from benchmarks.framework import Report
from rich.console import Console
from tests.unit.bench.labelled_folder import labelled_folder

from iotistic.detection import DEFAULTS, Detector
from iotistic.detection.constants import Constants

NOWHERE = Peer("not there", ZScore, ("no_such_package_anywhere",))


def test_muting_keeps_what_our_detector_would_tell():
    scores = np.array([0.0, 0.5, 0.4, 0.6, 0.6, 0.0, 0.1])

    assert muted(scores, mute=2).tolist() == [0.0, 0.5, 0.0, 0.6, 0.0, 0.0, 0.1]


def test_muting_changes_nothing_about_a_detector_that_mutes():
    detector = Detector()
    alerts = np.array([detector.update(row * 300.0, float((row * 7919) % 101))[0] for row in range(2000)])

    assert (alerts > 0).any()
    assert (muted(alerts) == alerts).all()


def test_a_peer_that_is_missing_is_told_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setenv("NAB_DATA", str(labelled_folder(tmp_path, ["one", "two", "three"])))
    monkeypatch.setattr(detection_compare, "ALL", (detection_compare.OURS, Peer("z", ZScore), NOWHERE))
    out = Console(file=io.StringIO(), width=200)
    report = Report(console=out)

    standings = compare(report, labelled_data())

    assert [(one.name, one.is_installed) for one in standings] == [
        ("ours", True),
        ("z", True),
        ("not there", False),
    ]
    assert f"not there is not installed: {INSTALL}" in out.file.getvalue()
    assert list(lines(standings))[-1] == ("not there", "not installed:", INSTALL)
    assert {"NAB, z", "NAB, z, muted", "halves, spread, z", "event F1, z", "VUS-PR, z", "a sample, z"} <= {
        one.name for one in report.results
    }
    assert report.tables[0].row_count == 4


@pytest.mark.parametrize("name", [*SCALED, *RAW])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_constant_beside_its_value_is_one_that_works(name, factor):
    changed = scaled(name, factor)

    assert changed != DEFAULTS
    assert Detector(changed).update(0.0, 1.0) == (0.0, 0.0)


def test_every_constant_has_a_plateau_but_the_weight_of_forecasts():
    assert {*SCALED, *RAW, "forecast_weight"} == set(Constants.__dataclass_fields__)
