"""HTTP routes of dead letters."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from iotistic.kernel.web.auth import Rule
from iotistic.telemetry.dead_letters.schemas import (
    Deleted,
    Letter,
    LetterCounts,
    LetterPage,
    LettersQuery,
    Replayed,
    Selection,
    SelectionQuery,
    Serial,
)
from iotistic.telemetry.dead_letters.service import DeadLetterService


def dead_letter_router(service: DeadLetterService, access: Rule, change: Rule) -> APIRouter:
    """Return the routes below `/dead-letters`; `access` says who may look, `change` who may replay and delete."""
    router = APIRouter(prefix="/dead-letters", tags=["dead letters"], dependencies=[Depends(access)])

    @router.get("", operation_id="list_dead_letters")
    async def list_dead_letters(query: Annotated[LettersQuery, Query()]) -> LetterPage:
        """List messages that could not be stored, newest first."""
        return await service.page(query)

    @router.get("/summary", operation_id="summarise_dead_letters")
    async def summarise_dead_letters() -> LetterCounts:
        """Count messages that could not be stored, by reason."""
        return await service.summary()

    @router.get("/{id}", operation_id="get_dead_letter")
    async def get_dead_letter(letter_id: Annotated[Serial, Path(alias="id")]) -> Letter:
        """Show one message with its payload as text, hex and base64."""
        return await service.one(letter_id)

    @router.post("/replay", operation_id="replay_dead_letters", dependencies=[Depends(change)])
    async def replay_dead_letters(selection: Selection) -> Replayed:
        """Publish messages again on their topics, once the cause is mended.

        A letter counts as replayed once the broker has acknowledged it.
        """
        return await service.replay(selection)

    @router.delete("", operation_id="delete_dead_letters", dependencies=[Depends(change)])
    async def delete_dead_letters(selection: Annotated[SelectionQuery, Query()]) -> Deleted:
        """Delete messages for good."""
        return await service.delete(selection)

    _ = list_dead_letters, summarise_dead_letters, get_dead_letter, replay_dead_letters, delete_dead_letters
    return router
