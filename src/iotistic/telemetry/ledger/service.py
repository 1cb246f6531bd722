"""Use cases of the ledger's readers: what was sent, what is stored, what is missing and why."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec

from iotistic.contracts.delivery import RESEND, command_topic
from iotistic.telemetry.ledger.healing import Bucket, healing
from iotistic.telemetry.ledger.looks import Stages
from iotistic.telemetry.ledger.model import PATH, Stage
from iotistic.telemetry.ledger.repository import MOST_GAPS, Chosen, LedgerRepository
from iotistic.telemetry.ledger.schemas import (
    DroppedEpochs,
    HealingTimes,
    LedgerEntry,
    LedgerGap,
    LedgerPage,
    LedgerProcess,
    LedgerQuery,
    LedgerStage,
    LedgerTotals,
    ReceiptPage,
    ReceiptsQuery,
)
from iotistic.telemetry.ledger.standing import Clock, Evidence, Sender, stand
from iotistic.telemetry.query.references import Key, decode_cursor, encode_cursor
from iotistic.telemetry.query.times import EPOCH, from_us, to_us
from iotistic.telemetry.statements import Record

_LIST, _RECEIPTS = "ledger", "ledger_receipts"
_KINDS = ("mac:", "uuid:", "key:")
# A reader adds up a little itself, so that its figures are fresh and a stopped maintenance is no wall.
_FOLD_ROUNDS = 3
_OFFLINE_AFTER = timedelta(minutes=5)
"""A sender of which nothing came for so long counts as offline. It may just have nothing to say, which is why
the time is told with it."""

_SAID = {
    "young": (Stage.ON_THE_WAY, "missing for less than the watermark, or maintenance does not run"),
    "gone": (Stage.DEVICE, "the device has them no more; they will not come"),
    "waiting": (Stage.DEVICE_WAITING, "the device keeps them until its turn in the catch-up lane comes"),
}


class Devices(Protocol):
    """Finds devices."""

    async def find(self, text: str) -> Record:
        """Return the device that `text` names; raise DeviceUnknown or DeviceAmbiguous."""
        ...


class LedgerService:
    """Answers questions about deliveries."""

    def __init__(self, repository: LedgerRepository, stages: Stages, devices: Devices) -> None:
        self._repository, self._stages = repository, stages
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
        clocks = await self._stages.clocks()
        last = kept[-1] if len(rows) > query.limit else None
        return LedgerPage(
            totals=await self._totals(chosen),
            stages=_figures(clocks),
            processes=[LedgerProcess.model_validate(dict(row)) for row in await self._stages.loads()],
            waiting_batches=await self._repository.waiting(),
            items=await self._entries(kept, clocks),
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

    async def _totals(self, chosen: Chosen) -> LedgerTotals:
        sums = _whole(await self._repository.totals(chosen))
        times = _times(await self._repository.healing(chosen))
        return LedgerTotals.model_validate({**sums, "healing": times})

    async def _entries(self, rows: Sequence[Record], clocks: Sequence[Clock]) -> list[LedgerEntry]:
        sources = list({row["source"] for row in rows})
        devices = await self._repository.devices(sources)
        senders = await self._repository.senders(sources)
        gaps = await self._repository.gaps(rows)
        healed = await self._repository.healing_of(rows)
        offline_before = datetime.now(UTC) - _OFFLINE_AFTER
        entries: list[LedgerEntry] = []
        for row in rows:
            key = row["source"], row["epoch"]
            judge = _Judge(
                _sender(row, senders.get(row["source"])), row["answered_at"], clocks, offline_before
            )
            device = devices.get(row["source"])
            entries.append(
                LedgerEntry.model_validate(
                    {
                        **_whole(row),
                        "device_id": device and device["id"],
                        "device_name": device and device["name"],
                        "healing": _times(healed.get(key, [])),
                        "gaps": _gaps(row, gaps.get(key, []), judge),
                        "has_more_gaps": _has_more(gaps.get(key, [])),
                    }
                )
            )
        return entries

    async def _sources(self, device: str | None) -> list[str] | None:
        if device is None:
            return None
        if device.startswith(_KINDS):
            return [device]
        found = await self._devices.find(device)
        keys = {"mac": found["mac"], "uuid": str(found["uuid"]), "key": found["external_key"]}
        return [f"{kind}:{key}" for kind, key in keys.items() if key]


@dataclass(frozen=True, slots=True)
class _Judge:
    """Says where the gaps of one epoch stand."""

    sender: Sender
    answered_at: datetime | None
    clocks: Sequence[Clock]
    offline_before: datetime

    def gap(self, row: Record) -> LedgerGap:
        stage, note = _SAID.get(row["kind"]) or self._stand(row)
        return _gap(row["first"], row["last"], stage, note, row["since"])

    def _stand(self, row: Record) -> tuple[Stage, str]:
        again_at = self.answered_at if row["kind"] == "again" else None
        evidence = Evidence(row["came_by"], again_at)
        return stand(evidence, self.sender, self.clocks, self.offline_before)


def _sender(row: Record, known: Record | None) -> Sender:
    can_be_asked = command_topic(row["source"], RESEND) is not None
    if known is None:
        return Sender(row["last_at"], can_be_asked=can_be_asked)
    heard = [at for at in (known["last_at"], known["asked_at"]) if at is not None]
    return Sender(max(heard), known["waiting"] or 0, can_be_asked, known["asked_at"])


def _gaps(row: Record, missing: Sequence[Record], judge: _Judge) -> list[LedgerGap]:
    found = [judge.gap(one) for one in missing]
    if row["floor"] > 1:
        note = "below the floor of an epoch with more gaps than the ledger keeps"
        found.append(_gap(1, row["floor"] - 1, Stage.NOT_KEPT, note, None))
    return sorted(found, key=lambda gap: gap.first)


def _gap(first: int, last: int, stage: Stage, note: str, since: datetime | None) -> LedgerGap:
    return LedgerGap(first=first, last=last, count=last - first + 1, stage=stage, note=note, since=since)


def _has_more(missing: Sequence[Record]) -> bool:
    kinds = [one["kind"] for one in missing]
    return any(kinds.count(kind) == MOST_GAPS for kind in set(kinds))


def _figures(clocks: Sequence[Clock]) -> list[LedgerStage]:
    return [
        _figure(stage, parts)
        for stage in PATH
        if (parts := [clock for clock in clocks if clock.stage is stage])
    ]


def _figure(stage: Stage, parts: Sequence[Clock]) -> LedgerStage:
    waiting = [clock.waiting for clock in parts if clock.waiting is not None]
    clear = [clock.clear_until for clock in parts]
    known = [at for at in clear if at is not None]
    return LedgerStage(
        stage=stage,
        parts=len(parts),
        waiting=sum(waiting) if waiting else None,
        looked_at=min(clock.looked_at for clock in parts),
        clear_until=min(known) if len(known) == len(clear) else None,
    )


def _times(buckets: Sequence[Bucket]) -> HealingTimes | None:
    found = healing(buckets)
    return None if found is None else HealingTimes(**found._asdict())


def _whole(row: Record) -> dict[str, object]:
    """Return a row with its sums, which the database gives as decimals, as whole numbers."""
    sums = {"sent", "stored", "missing", "duplicates", "healed"}
    return {name: int(value) if name in sums else value for name, value in row.items()}
