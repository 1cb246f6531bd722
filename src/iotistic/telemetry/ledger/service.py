"""Use cases of the ledger's readers: what was sent, what is stored, what is missing and why."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from iotistic.telemetry.ledger.model import Gap, Span, Stage
from iotistic.telemetry.ledger.repository import MOST_GAPS, Chosen, LedgerRepository, spans
from iotistic.telemetry.ledger.schemas import (
    DroppedEpochs,
    LedgerEntry,
    LedgerGap,
    LedgerPage,
    LedgerQuery,
    LedgerTotals,
    ReceiptPage,
    ReceiptsQuery,
)
from iotistic.telemetry.query.references import Key, decode_cursor, encode_cursor
from iotistic.telemetry.query.times import EPOCH, from_us, to_us
from iotistic.telemetry.statements import Record

_LIST, _RECEIPTS = "ledger", "ledger_receipts"
_KINDS = ("mac:", "uuid:", "key:")
_STAGES = (Stage.ON_THE_WAY, Stage.UNANSWERED, Stage.PIPELINE, Stage.DEVICE)
# A reader adds up a little itself, so that its figures are fresh and a stopped maintenance is no wall.
_FOLD_ROUNDS = 3


class Devices(Protocol):
    """Finds devices."""

    async def find(self, text: str) -> Record:
        """Return the device that `text` names; raise DeviceUnknown or DeviceAmbiguous."""
        ...


class LedgerService:
    """Answers questions about deliveries."""

    def __init__(self, repository: LedgerRepository, devices: Devices) -> None:
        self._repository = repository
        self._devices = devices

    async def page(self, query: LedgerQuery) -> LedgerPage:
        """Return sums and one page of epochs."""
        await self._repository.fold(rounds=_FOLD_ROUNDS, patient=False)
        chosen = Chosen(await self._sources(query.device), query.start, query.end, query.missing)
        after = ("", -1)
        if query.cursor:
            _, (source, epoch) = decode_cursor(query.cursor, _LIST, keys=(Key.TEXT, Key.SERIAL))
            after = str(source), int(epoch)
        rows = await self._repository.page(chosen, after=after, limit=query.limit + 1)
        kept = rows[: query.limit]
        devices = await self._repository.devices([row["source"] for row in kept])
        last = kept[-1] if len(rows) > query.limit else None
        return LedgerPage(
            totals=LedgerTotals.model_validate(_whole(await self._repository.totals(chosen))),
            waiting_batches=await self._repository.waiting(),
            items=[_entry(row, devices) for row in kept],
            dropped=[
                DroppedEpochs.model_validate(_whole(row))
                for row in await self._repository.dropped(chosen.sources)
            ],
            next_cursor=encode_cursor(_LIST, last["source"], last["epoch"]) if last else None,
        )

    async def receipts(self, query: ReceiptsQuery) -> ReceiptPage:
        """Return one page of signed receipts, oldest first."""
        chosen = Chosen(await self._sources(query.device), query.start, query.end)
        after = (EPOCH, "")
        if query.cursor:
            _, (time, source) = decode_cursor(query.cursor, _RECEIPTS, keys=(Key.TIME, Key.TEXT))
            after = from_us(int(time)), str(source)
        rows = await self._repository.receipts(chosen, after=after, limit=query.limit + 1)
        kept = rows[: query.limit]
        last = kept[-1] if len(rows) > query.limit else None
        return ReceiptPage(
            items=[msgspec.json.decode(row["body"]) for row in kept],
            next_cursor=encode_cursor(_RECEIPTS, to_us(last["until"]), last["source"]) if last else None,
        )

    async def _sources(self, device: str | None) -> list[str] | None:
        if device is None:
            return None
        if device.startswith(_KINDS):
            return [device]
        found = await self._devices.find(device)
        keys = {"mac": found["mac"], "uuid": str(found["uuid"]), "key": found["external_key"]}
        return [f"{kind}:{key}" for kind, key in keys.items() if key]


def _entry(row: Record, devices: Mapping[str, Record]) -> LedgerEntry:
    by_stage = {stage: spans(row[stage.value]) for stage in _STAGES}
    device = devices.get(row["source"])
    return LedgerEntry.model_validate(
        {
            **_whole(row),
            "device_id": device and device["id"],
            "device_name": device and device["name"],
            "gaps": [_shown(gap) for gap in _gaps(by_stage, row)],
            "has_more_gaps": any(len(found) == MOST_GAPS for found in by_stage.values()),
        }
    )


def _gaps(by_stage: Mapping[Stage, Sequence[Span]], row: Record) -> list[Gap]:
    found = [Gap(*span, stage) for stage, listed in by_stage.items() for span in listed]
    if row["floor"] > 1:
        found.append(Gap(1, row["floor"] - 1, Stage.NOT_KEPT))
    return sorted(found)


def _shown(gap: Gap) -> LedgerGap:
    return LedgerGap(first=gap.first, last=gap.last, count=gap.last - gap.first + 1, stage=gap.stage)


def _whole(row: Record) -> dict[str, object]:
    """Return a row with its sums, which the database gives as decimals, as whole numbers."""
    sums = {"sent", "stored", "missing", "duplicates", "healed"}
    return {name: int(value) if name in sums else value for name, value in row.items()}
