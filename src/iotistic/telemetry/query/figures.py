"""Use case: how much there is in the database, and how much comes in now."""

from iotistic.telemetry.live.hub import LiveHub
from iotistic.telemetry.query.repository import QueryRepository
from iotistic.telemetry.query.schemas import Stats, WorkerStats

_COUNTED_LETTERS = 100_000  # see `stats` in queries.sql


async def current_stats(repository: QueryRepository, hub: LiveHub) -> Stats:
    """Return totals from the database, and rates from the workers' own statements."""
    totals = await repository.stats()
    workers = [
        WorkerStats(
            worker=figures.totals.worker,
            messages_per_s=round(figures.messages_per_s, 1),
            rows_per_s=round(figures.rows_per_s, 1),
            messages_total=figures.totals.messages_total,
            rows_total=figures.totals.rows_total,
            events_total=figures.totals.events_total,
            dead_letters_total=figures.totals.dead_letters_total,
        )
        for figures in hub.figures()
    ]
    return Stats(
        devices=totals["devices"],
        rows_stored=totals["rows_estimate"],
        dead_letters_open=min(totals["dead_letters_open"], _COUNTED_LETTERS),
        dead_letters_open_is_least=totals["dead_letters_open"] > _COUNTED_LETTERS,
        messages_per_s=sum(worker.messages_per_s for worker in workers),
        rows_per_s=sum(worker.rows_per_s for worker in workers),
        watchers=hub.watchers,
        workers=workers,
    )
