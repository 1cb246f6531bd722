"""HTTP routes of the delivery ledger."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from iotistic.kernel.web.auth import Rule
from iotistic.telemetry.ledger.schemas import LedgerPage, LedgerQuery, ReceiptPage, ReceiptsQuery
from iotistic.telemetry.ledger.service import LedgerService


def ledger_router(service: LedgerService, access: Rule) -> APIRouter:
    """Return the routes below `/ledger`; `access` says who may."""
    router = APIRouter(prefix="/ledger", tags=["ledger"], dependencies=[Depends(access)])

    @router.get("", operation_id="get_ledger")
    async def get_ledger(query: Annotated[LedgerQuery, Query()]) -> LedgerPage:
        """Say what senders that number their messages sent, what is stored of it, and what is missing."""
        return await service.page(query)

    @router.get("/receipts", operation_id="list_ledger_receipts")
    async def list_ledger_receipts(query: Annotated[ReceiptsQuery, Query()]) -> ReceiptPage:
        """List the signed statements of what was stored, one for each sender and hour in which it sent."""
        return await service.receipts(query)

    _ = get_ledger, list_ledger_receipts
    return router
