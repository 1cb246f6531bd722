"""What `iotistic ledger` prints of the API's answer."""

import datetime as dt

import pytest

from iotistic.entrypoints.commands import ledger
from iotistic.telemetry.ledger.model import Stage
from iotistic.telemetry.ledger.schemas import LedgerPage

AT = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
SUMS = {"sent": 12, "stored": 9, "missing": 3, "duplicates": 4, "healed": 2}
HEALING = {"p50_s": 31.2, "p99_s": 44.0, "max_s": 44.0}


def gap(first, stage, note):
    return {"first": first, "last": first, "count": 1, "stage": stage, "since": AT, "note": note}


@pytest.fixture
def printed(monkeypatch, capsys):
    """Show one page; give the printed lines."""

    def show(**changes):
        entry = SUMS | {
            "source": "mac:aabbccddee01", "device_id": 7, "device_name": "F2", "epoch": 5, "healing": HEALING,
            "untold": 0, "asked": 1, "has_more_gaps": False, "first_at": AT, "last_at": AT,
            "gaps": [
                gap(3, Stage.RAW_TOPIC, "may wait in Kafka"),
                gap(4, Stage.RAW_TOPIC, "may wait in Kafka"),
                gap(5, Stage.DEVICE, "gone"),
            ],
        } | changes  # fmt: skip
        page = {
            "totals": SUMS | {"senders": 1, "epochs": 1, "healing": HEALING},
            "stages": [
                {"stage": "raw_topic", "parts": 6, "waiting": 1200, "looked_at": AT, "clear_until": AT},
                {"stage": "broker", "parts": 1, "waiting": None, "looked_at": AT, "clear_until": None},
            ],
            "processes": [
                {"process": "sink-0", "lane": "live", "waiting": 3, "away": "database", "reported_at": AT},
                {"process": "sink-1", "lane": "live", "waiting": 3, "away": None, "reported_at": AT},
            ],
            "waiting_batches": 0,
            "items": [entry],
            "dropped": [],
            "next_cursor": None,
        }
        api = type("Api", (), {"get": lambda *_args, **_asked: LedgerPage.model_validate(page)})
        monkeypatch.setattr(ledger, "connect", api)
        assert ledger.show() == 0
        return capsys.readouterr().out.splitlines()

    return show


def test_a_gap_is_listed_with_its_stage_and_the_words_for_it_once(printed):
    lines = printed()

    assert "3-3 raw_topic, 4-4 raw_topic, 5-5 device" in lines[1]
    assert lines[2:4] == ["mac:aabbccddee01 raw_topic: may wait in Kafka", "mac:aabbccddee01 device: gone"]


def test_the_stages_and_the_time_to_heal_are_told(printed):
    lines = printed()

    assert "raw_topic: 1,200 waiting, clear of what came before 2026-11-21T12:00:00Z" in lines
    assert "sink-0: database" in lines
    assert not [line for line in lines if line.startswith("sink-1")]
    assert "broker: ? waiting, clear of what came before not known" in lines
    assert lines[-1].endswith("2 healed after 31.2 s (p99 44 s, 44 s at most)")


def test_an_epoch_in_which_nothing_healed_has_no_time_to_heal(printed):
    assert " - " in printed(healing=None)[1]
