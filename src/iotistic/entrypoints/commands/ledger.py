"""`iotistic ledger`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson, InputFile
from iotistic.entrypoints.installation import connect
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid, IotisticError
from iotistic.kernel.home import HomeSettings
from iotistic.kernel.settings import load_settings
from iotistic.telemetry.ledger.receipts import chain_faults, read_public_key, verify
from iotistic.telemetry.ledger.schemas import (
    LedgerEntry,
    LedgerPage,
    LedgerStage,
    LedgerTotals,
    ReceiptPage,
)
from iotistic.telemetry.query.times import iso

app = App(
    name="ledger", help="Say what was sent, what is stored, and what is missing.", help_format="plaintext"
)

_PATH = "/telemetry/ledger"
_PAGE = 1000
_COLUMNS = (
    "source", "epoch", "sent", "stored", "missing", "duplicates", "healed", "heal_p99_s", "gaps", "last_at"
)  # fmt: skip
_SHOWN_GAPS = 5
_SHOWN_NOTES = 20
_FAILED = 1
_NONE = "nothing yet: no sender has numbered its messages; see docs/operate/ledger.md"

When = Annotated[str | None, Parameter(allow_leading_hyphen=True)]
Flag = Parameter(negative="")


class ReceiptsUnreadable(Invalid):
    """The file holds no receipts."""

    code = "ledger.receipts_unreadable"


@app.default
@app.command(name="show")
def show(
    *,
    device: str | None = None,
    start: Annotated[When, Parameter(name=["--from"])] = None,
    end: Annotated[When, Parameter(name=["--to"])] = None,
    missing: Annotated[bool, Flag] = False,
    check: Annotated[bool, Flag] = False,
    limit: int = 1000,
    json: AsJson = False,
) -> int:
    """Show what senders that number their messages sent, what is stored, what is missing and where it stands.

    Parameters
    ----------
    device
        Id, MAC, uuid, external key, name, or a sender such as mac:aabbccddee01.
    start
        Only epochs active at or after this: an age such as -24h, or an ISO 8601 time.
    end
        Only epochs active before this.
    missing
        Only epochs with something missing.
    check
        End with status 1 when something is missing.
    limit
        Most epochs to list; the sums are over all.
    """
    api = connect()
    items: list[LedgerEntry] = []
    cursor: str | None = None
    while True:
        page = api.get(
            _PATH,
            LedgerPage,
            device=device,
            missing=missing or None,
            limit=max(1, min(_PAGE, limit - len(items))),
            cursor=cursor,
            **{"from": start, "to": end},
        )
        items += page.items
        cursor = page.next_cursor
        if cursor is None or len(items) >= limit:
            break
    if json:
        emit({**page.model_dump(), "items": items, "next_cursor": cursor}, json=True)
    else:
        _print(page, items)
    return _FAILED if check and page.totals.missing else 0


@app.command
def receipts(
    *,
    device: str | None = None,
    start: Annotated[When, Parameter(name=["--from"])] = None,
    end: Annotated[When, Parameter(name=["--to"])] = None,
    json: AsJson = False,
) -> None:
    """Print signed receipts, one JSON document a line, oldest first, for `iotistic ledger verify`.

    Parameters
    ----------
    device
        Only this device.
    start
        Only hours that ended after this.
    end
        Only hours that ended by then.
    """
    api = connect()
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        page = api.get(
            f"{_PATH}/receipts",
            ReceiptPage,
            device=device,
            limit=_PAGE,
            cursor=cursor,
            **{"from": start, "to": end},
        )
        if json:
            found += page.items
        else:
            for receipt in page.items:
                sys.stdout.write(msgspec.json.encode(receipt, order="deterministic").decode() + "\n")
        cursor = page.next_cursor
        if cursor is None:
            break
    if json:
        emit(found, json=True)


@app.command(name="verify")
def verify_receipts(file: InputFile, *, key: Path | None = None, json: AsJson = False) -> int:
    """Check receipts: who signed them, that nothing was changed since, and that none is left out between.

    Ends with status 1 when one is not in order. Needs neither the installation nor a network.

    Parameters
    ----------
    file
        Receipts as `iotistic ledger receipts` prints them; - reads standard input.
    key
        The public key (PEM) to check with; without it, the one in the home's secrets/ledger.pub.
    """
    public = read_public_key(key or load_settings(HomeSettings).home.ledger_key.with_suffix(".pub"))
    found = _read(file)
    faults: list[dict[str, object]] = []
    for number, receipt in enumerate(found, 1):
        try:
            verify(receipt, public)
        except IotisticError as exc:
            faults.append(_fault(number, str(receipt.get("source")), exc.message))
    faults += [_fault(*fault) for fault in chain_faults(found)]
    if json:
        emit({"receipts": len(found), "faults": faults}, json=True)
    else:
        emit(faults, json=False, empty=f"{len(found)} receipts are in order")
    return _FAILED if faults else 0


def _fault(receipt: int, source: str, why: str) -> dict[str, object]:
    return {"receipt": receipt, "source": source, "fault": why}


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        raw = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        found = [msgspec.json.decode(line) for line in raw.splitlines() if line.strip()]
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ReceiptsUnreadable(f"{file}: {exc}", hint="one JSON document a line") from exc
    if not found or not all(isinstance(receipt, dict) for receipt in found):
        raise ReceiptsUnreadable(f"{file} holds no receipts", hint="one JSON document a line")
    return found


def _print(page: LedgerPage, items: list[LedgerEntry]) -> None:
    rows = [
        {**item.model_dump(), "gaps": _gaps(item), "heal_p99_s": item.healing.p99_s if item.healing else "-"}
        for item in items
    ]
    emit(rows, json=False, columns=_COLUMNS, empty=_NONE)
    lines = _notes(items)
    lines += [_stage(stage) for stage in page.stages if page.totals.missing]
    lines += [f"{one.process}: {one.away}" for one in page.processes if one.away]
    lines += [
        f"{one.source}: {one.epochs} epochs are not kept any more ({one.reason})" for one in page.dropped
    ]
    if page.totals.epochs:
        lines.append(_sum(page.totals))
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _notes(items: list[LedgerEntry]) -> list[str]:
    """Return what is known of the gaps, in words; equal words of one sender once."""
    notes = {f"{item.source} {gap.stage.value}: {gap.note}": None for item in items for gap in item.gaps}
    listed = list(notes)[:_SHOWN_NOTES]
    return listed + (["..."] if len(notes) > _SHOWN_NOTES else [])


def _stage(stage: LedgerStage) -> str:
    clear = "not known" if stage.clear_until is None else iso(stage.clear_until)
    waiting = "?" if stage.waiting is None else f"{stage.waiting:,}"
    return f"{stage.stage.value}: {waiting} waiting, clear of what came before {clear}"


def _sum(totals: LedgerTotals) -> str:
    times = totals.healing
    healed = (
        ""
        if times is None
        else f" after {times.p50_s:g} s (p99 {times.p99_s:g} s, {times.max_s:g} s at most)"
    )
    return (
        f"{totals.senders} senders: {totals.sent:,} sent, {totals.stored:,} stored, "
        f"{totals.missing:,} missing, {totals.duplicates:,} duplicates, {totals.healed:,} healed{healed}"
    )


def _gaps(item: LedgerEntry) -> str:
    told = [f"{gap.first}-{gap.last} {gap.stage.value}" for gap in item.gaps[:_SHOWN_GAPS]]
    more = len(item.gaps) > _SHOWN_GAPS or item.has_more_gaps
    return ", ".join(told) + (" ..." if more else "") or "-"
