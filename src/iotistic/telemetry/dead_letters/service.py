"""Use cases of dead letters: look at them, publish them again once the cause is mended, or delete them."""

import asyncio
import base64
from collections.abc import Sequence
from typing import Protocol

import structlog

from iotistic.kernel.errors import Denied, NotFound, Unavailable
from iotistic.telemetry.dead_letters.repository import Chosen, DeadLetterRepository
from iotistic.telemetry.dead_letters.schemas import (
    Deleted,
    Letter,
    LetterCounts,
    LetterPage,
    LettersQuery,
    LetterSummary,
    ReasonCount,
    Replayed,
    Selection,
    State,
)
from iotistic.telemetry.query.references import Key, decode_cursor, encode_cursor
from iotistic.telemetry.statements import Record

log = structlog.get_logger()

_LIST = "dead_letters"
_NEWEST = 2**63 - 1
_REPLAY_BATCH = 200
_DELETE_BATCH = 10_000
_TOLD_IDS = 100
_REPLAYED = {State.OPEN: False, State.REPLAYED: True, State.ALL: None}


class LetterUnknown(NotFound):
    """There is no such dead letter."""

    code = "dead_letter.unknown"


class Publisher(Protocol):
    """Publishes a message and returns once the broker has acknowledged it."""

    async def publish(self, topic: str, payload: bytes) -> None:
        """Raise Denied when the broker refuses the message, Unavailable when it does not answer."""
        ...


class DeadLetterService:
    """Looks after what could not be stored."""

    def __init__(self, repository: DeadLetterRepository, publisher: Publisher) -> None:
        self._repository = repository
        self._publisher = publisher

    async def page(self, query: LettersQuery) -> LetterPage:
        """Return one page of letters, newest first."""
        before = _NEWEST
        if query.cursor:
            before = int(decode_cursor(query.cursor, _LIST, keys=(Key.SERIAL,))[1][0])
        rows = await self._repository.page(
            reason=query.reason,
            since=query.since,
            replayed=_REPLAYED[query.state],
            before=before,
            limit=query.limit + 1,
        )
        items = [LetterSummary.model_validate(_shown(row)) for row in rows[: query.limit]]
        more = len(rows) > query.limit
        return LetterPage(items=items, next_cursor=encode_cursor(_LIST, items[-1].id) if more else None)

    async def one(self, letter_id: int) -> Letter:
        """Return one letter with its payload; raise LetterUnknown."""
        row = await self._repository.one(letter_id)
        if row is None:
            raise LetterUnknown(id=letter_id)
        payload: bytes = row["payload"]
        return Letter.model_validate(
            _shown(row)
            | {
                "payload_text": _text(payload),
                "payload_hex": payload.hex(" "),
                "payload_base64": base64.b64encode(payload).decode(),
            }
        )

    async def summary(self) -> LetterCounts:
        """Return counts per reason."""
        items = [ReasonCount.model_validate(dict(row)) for row in await self._repository.summary()]
        return LetterCounts(open=sum(item.open for item in items), items=items)

    async def replay(self, selection: Selection) -> Replayed:
        """Publish the open letters of a selection again; each is marked only after its PUBACK.

        Letters that come in meanwhile are left out, or a letter that still fails would go round for ever.
        Raises Unavailable when the broker does not answer; what was acknowledged by then is marked.
        """
        chosen, up_to = _chosen(selection), await self._repository.newest_id()
        batch = _Batch(self._publisher)
        after, replayed = 0, 0
        while after < up_to:
            taken, after, published = await self._repository.replay(
                chosen, after=after, up_to=up_to, limit=_REPLAY_BATCH, publish=batch.publish
            )
            replayed += len(published)
            if batch.failure is not None:
                log.warning("dead_letters.replay_interrupted", replayed=replayed)
                raise batch.failure
            if taken < _REPLAY_BATCH:
                break
        log.info("dead_letters.replayed", replayed=replayed, refused=len(batch.refused))
        return Replayed(replayed=replayed, refused=len(batch.refused), refused_ids=batch.refused[:_TOLD_IDS])

    async def delete(self, selection: Selection) -> Deleted:
        """Delete the letters of a selection, replayed or not."""
        chosen, up_to = _chosen(selection), await self._repository.newest_id()
        deleted = 0
        while count := await self._repository.delete(chosen, up_to=up_to, limit=_DELETE_BATCH):
            deleted += count
        log.info("dead_letters.deleted", deleted=deleted)
        return Deleted(deleted=deleted)


class _Batch:
    """Publishes letters side by side and sorts out what became of each."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.refused: list[int] = []
        self.failure: Unavailable | None = None

    async def publish(self, letters: Sequence[Record]) -> list[int]:
        """Return the ids that the broker acknowledged."""
        outcomes = await asyncio.gather(*(self._publish(letter) for letter in letters))
        return [letter["id"] for letter, done in zip(letters, outcomes, strict=True) if done]

    async def _publish(self, letter: Record) -> bool:
        topic = _text(letter["topic"])
        if not topic or set(topic) & {"+", "#", "\0"}:
            self.refused.append(letter["id"])
            return False
        try:
            await self._publisher.publish(topic, letter["payload"])
        except Denied:
            self.refused.append(letter["id"])
            return False
        except Unavailable as exc:
            self.failure = exc
            return False
        return True


def _chosen(selection: Selection) -> Chosen:
    return Chosen(ids=selection.ids, reason=selection.reason)


def _shown(row: Record) -> dict[str, object]:
    return {**row, "topic": row["topic"].decode(errors="backslashreplace")}


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None
