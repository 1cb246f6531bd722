"""`iotistic ledger verify`, which needs neither an installation nor a network."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from iotistic.entrypoints.cli import main
from iotistic.telemetry.ledger.receipts import KeyUnusable, SigningKey, digest_of


@pytest.fixture
def verify(tmp_path, capsys):
    """Run the command over receipts; give its exit code and what it printed."""
    key = SigningKey.kept_in(tmp_path / "ledger.key")

    def run(*receipts, key_file="ledger.pub"):
        file = tmp_path / "receipts.jsonl"
        file.write_bytes(b"\n".join(receipts) + b"\n")
        with pytest.raises(SystemExit) as ended:
            main(("ledger", "verify", str(file), "--key", str(tmp_path / key_file), "--json"))
        captured = capsys.readouterr()
        return ended.value.code, json.loads(captured.out or captured.err)

    run.key = key
    return run


def chain(key, count):
    """Return signed receipts of one sender, each after the one before."""
    made = []
    for number in range(count):
        previous = digest_of(made[-1].decode()) if made else None
        made.append(key.sign({"version": 1, "source": "mac:a", "hour": number, "previous": previous}))
    return made


def test_receipts_in_order_are_said_to_be_in_order(verify):
    assert verify(*chain(verify.key, 3)) == (0, {"receipts": 3, "faults": []})


def test_a_receipt_that_was_changed_or_signed_by_another_ends_with_one(verify):
    (ours,) = chain(verify.key, 1)
    (foreign,) = chain(SigningKey(Ed25519PrivateKey.generate()), 1)

    for receipt in (ours.replace(b'"hour":0', b'"hour":1'), foreign, b'{"source": "mac:a"}'):
        code, told = verify(receipt)
        assert code == 1
        assert told["faults"][0]["receipt"] == 1


def test_a_receipt_that_is_left_out_is_noticed(verify):
    first, _, third = chain(verify.key, 3)

    code, told = verify(first, third)

    assert code == 1
    assert [fault["receipt"] for fault in told["faults"]] == [2]


@pytest.mark.parametrize("rubbish", [b"", b"not json", b"[]", b"7", b"[" * 5000, b"\xff\xfe"])
def test_a_file_that_holds_no_receipts_is_refused(verify, rubbish):
    code, told = verify(rubbish)

    assert (code, told["error"]["code"]) == (2, "ledger.receipts_unreadable")


def test_a_key_that_is_none_is_refused(verify):
    for name in ("missing.pub", "ledger.key", "receipts.jsonl"):
        code, told = verify(*chain(verify.key, 1), key_file=name)
        assert (code, told["error"]["code"]) == (2, "ledger.key_unusable")


def test_a_key_that_cannot_be_kept_or_read_is_told(tmp_path):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "rubbish.key").write_text("no key")

    for path in (tmp_path / "file" / "ledger.key", tmp_path / "rubbish.key"):
        with pytest.raises(KeyUnusable):
            SigningKey.kept_in(path)


def test_the_key_is_made_once_and_kept(tmp_path):
    first = SigningKey.kept_in(tmp_path / "ledger.key")

    assert SigningKey.kept_in(tmp_path / "ledger.key").id == first.id
