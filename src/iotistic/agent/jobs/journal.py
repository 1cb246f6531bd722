"""What this device knows of its jobs, on disk: one row for each execution.

A row is kept before anything is done that it speaks of, and holds the reports that the cloud does not have yet:
of each execution at most the newest progress and the end. Executions that are over and told are remembered for
a while, so that one that is delivered again is known.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol, cast

import structlog

from iotistic.agent.jobs.errors import TooManyJobs
from iotistic.contracts.job_messages import JobOrder, JobReport
from iotistic.contracts.jobs import JobStatus, moved
from iotistic.kernel.errors import IotisticError

log = structlog.get_logger()

_PREFIX = "job-"
_MOST_OPEN, _MOST_OVER = 50, 200
_MOST_DOCUMENT, _DEEPEST = 262_144, 32
"""A row is written anew at each step of its job."""


class Keeper(Protocol):
    """Where rows are kept: names and JSON values."""

    async def load(self) -> dict[str, Any]:
        """Return all values by name."""
        ...

    async def put(self, name: str, value: Any) -> None:
        """Keep a value, None removes it. Raises StoreUnavailable."""
        ...


@dataclass
class Entry:
    """One execution of a job. Times are seconds since 1970."""

    job_id: str
    sequence: int
    """Counts executions in the order in which they came."""
    received_at: float
    number: int | None = None
    """None as long as nobody told it."""
    name: str = ""
    document: Any = None
    timeout_s: float | None = None
    status: JobStatus = JobStatus.QUEUED
    due_at: float = 0.0
    """When it runs next; at once, unless it waits for a moment."""
    started_at: float | None = None
    finished_at: float | None = None
    is_running: bool = False
    """A run is under way; a job that recurs is in progress between its runs too."""
    step: str = ""
    """The step that was begun last in this run."""
    token: str = ""
    mark: dict[str, Any] | None = None
    runs: int = 0
    failed_runs: int = 0
    reason: str = ""
    exit_code: int | None = None
    executed_steps: int = 0
    failed_step: str = ""
    reports: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """Waiting reports, oldest first: {order, fields, again}."""

    @property
    def key(self) -> str:
        """The name of its row; it tells nobody which job that is."""
        return _PREFIX + hashlib.sha256(f"{self.job_id} {self.sequence}".encode()).hexdigest()[:24]

    def move(self, status: JobStatus) -> None:
        """Go to a status. Raises TransitionRefused."""
        self.status = moved(self.status, status)


class Journal:
    """All executions that are known. `open` it first."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._entries: dict[int, Entry] | None = None
        self._order = 0

    async def open(self) -> None:
        """Read what was kept; a second time does nothing. Raises StoreUnavailable."""
        if self._entries is not None:
            return
        rows = await self._keeper.load()
        found = [entry for name, row in rows.items() if (entry := _read(name, row)) is not None]
        self._entries = {entry.sequence: entry for entry in sorted(found, key=lambda one: one.sequence)}
        self._order = max((report["order"] for one in found for report in one.reports), default=0)

    @property
    def entries(self) -> list[Entry]:
        """All executions, in the order in which they came."""
        return list((self._entries or {}).values())

    def find(self, job_id: str, number: int | None) -> Entry | None:
        """Return the execution that a message means, if it is known.

        Not every road tells numbers: an execution without one is taken for the one with it, and an older
        number than one that is known is none of which to make a new execution.
        """
        known = [entry for entry in self.entries if entry.job_id == job_id]
        if number is None:
            return known[-1] if known else None
        for entry in reversed(known):
            if entry.number is None:
                entry.number = number
            if entry.number >= number:
                return entry
        return None

    async def add(self, order: JobOrder, now: float) -> Entry:
        """Keep an execution that is new. Raises TooManyJobs and StoreUnavailable."""
        if sum(not entry.status.is_final for entry in self.entries) >= _MOST_OPEN:
            raise TooManyJobs(f"{_MOST_OPEN} jobs are waiting on this device")
        sequence = max((entry.sequence for entry in self.entries), default=0) + 1
        entry = Entry(order.job_id, sequence, now, order.number, order.name, order.document, order.timeout_s)
        await self.save(entry)
        self._known[sequence] = entry
        return entry

    async def save(self, entry: Entry) -> None:
        """Keep an execution as it is now. Raises StoreUnavailable."""
        await self._keeper.put(entry.key, asdict(entry))

    async def save_if_possible(self, entry: Entry) -> None:
        """Keep an execution; a disk that takes no writes is no reason to do something else."""
        try:
            await self.save(entry)
        except IotisticError as exc:
            log.warning("job.not_kept", job_id=entry.job_id, code=exc.code, reason=exc.message)

    def tell(self, entry: Entry, report: JobReport, *, again: bool = False) -> None:
        """Have a report wait; progress takes the place of progress that was not told. The caller saves."""
        self._order += 1
        is_progress = report.status is JobStatus.IN_PROGRESS
        kept = [one for one in entry.reports if not (is_progress and _is_progress(one))]
        entry.reports = [*kept, {"order": self._order, "fields": report.as_fields(), "again": again}]

    def next_report(self) -> tuple[Entry, dict[str, Any]] | None:
        """Return the report that has waited longest."""
        waiting = [(entry, report) for entry in self.entries for report in entry.reports]
        return min(waiting, key=lambda one: one[1]["order"], default=None)

    async def told(self, entry: Entry, report: dict[str, Any]) -> None:
        """Forget a report that arrived, and executions that nobody will ask about."""
        entry.reports = [one for one in entry.reports if one["order"] != report["order"]]
        await self.save_if_possible(entry)
        over = [one for one in self.entries if one.status.is_final and not one.reports]
        for old in over[:-_MOST_OVER]:
            del self._known[old.sequence]
            try:
                await self._keeper.put(old.key, None)
            except IotisticError:
                return

    @property
    def _known(self) -> dict[int, Entry]:
        if self._entries is None:
            raise RuntimeError("the journal is not open")
        return self._entries


def unkept_reason(document: object) -> str:
    """Return in words why a document is too much to be kept; empty when it is not."""
    level = [document]
    for _ in range(_DEEPEST):
        level = [inner for one in level for inner in _entries(one)]
    if level:
        return f"its document is nested more than {_DEEPEST} times"
    size = len(json.dumps(document))
    if size > _MOST_DOCUMENT:
        return f"its document has {size} characters; at most {_MOST_DOCUMENT} are read"
    return ""


def _entries(one: object) -> Iterable[object]:
    if isinstance(one, dict):
        return cast("dict[str, object]", one).values()
    return cast("list[object]", one) if isinstance(one, list) else ()


def _is_progress(report: Mapping[str, Any]) -> bool:
    return report["fields"]["status"] == JobStatus.IN_PROGRESS


def _read(name: str, row: Any) -> Entry | None:
    if not name.startswith(_PREFIX):
        return None
    try:
        known = {one.name for one in fields(Entry)}
        entry = Entry(**{key: value for key, value in row.items() if key in known})
        entry.status = JobStatus(entry.status)
    except (TypeError, ValueError, AttributeError) as exc:
        log.warning("job.row_unreadable", row=name, reason=str(exc))
        return None
    return entry
