"""Poll and report, for devices; set, deploy, cancel and roll back, for whoever looks after them.

- `set_target` changes nothing on a device: it waits until `deploy`, which makes it the next version.
- A version is given once: going back to an older target makes a new version with its content.
- What a device gets is written down before anybody is told of it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import asyncpg
import structlog

from iotistic.control.audit.port import NO_EVENTS, NO_TRAIL, Events, Trail
from iotistic.control.devices.keys import digest_of, is_key, prefix_of
from iotistic.control.devices.model import DeviceInactive, DeviceKeyUnknown, DeviceUnknown
from iotistic.control.devices.repository import Database
from iotistic.control.devices.service import DeviceService, utc_now
from iotistic.control.states import repository
from iotistic.control.states.model import (
    NoReport,
    NothingToDeploy,
    Report,
    ReportInvalid,
    ReportTooLarge,
    Standing,
    Target,
    TargetChanged,
    TargetInvalid,
    TargetTooLarge,
    VersionUnknown,
    checked,
    first_target,
    make_target,
)
from iotistic.control.why.port import NO_DECISIONS, About, Decisions
from iotistic.kernel.errors import IotisticError
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()

_FIRST = first_target()


@dataclass(frozen=True, kw_only=True, slots=True)
class Edited:
    """What an edit makes of a device's target: what waits then, and what is in force at once; None: as it was."""

    draft: Mapping[str, Any] | None
    in_force: Mapping[str, Any] | None = None


Edit = Callable[[Standing], Edited]


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """What a device is told; `document` (JSON text) is None when it has it already."""

    etag: str
    document: str | None


class Announcer(Protocol):
    """Tells devices that there is a new target; that it fails costs a device nothing but its next poll."""

    async def announce(self, uuid: str, version: int, etag: str) -> None:
        """Tell a device."""
        ...


class Witness(Protocol):
    """Hears what polls and reports tell beside the state (DeviceWitness of control/devices)."""

    def polled(self, uuid: str) -> None:
        """A device, which proved who it is, asked for its target."""
        ...

    async def reported(self, uuid: str, fields: Mapping[str, Any], at: datetime) -> None:
        """Return once what a report says beside the state is kept."""
        ...


class StateService:
    """The use cases around what devices should be and are."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        devices: DeviceService,
        *,
        announcer: Announcer | None = None,
        witness: Witness | None = None,
        trail: Trail = NO_TRAIL,
        events: Events = NO_EVENTS,
        decisions: Decisions = NO_DECISIONS,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._pool, self._devices, self._announcer, self._clock = pool, devices, announcer, clock
        self._trail, self._events, self._decisions = trail, events, decisions
        self._witness = witness

    async def poll(self, uuid: str, api_key: str, etags: list[str]) -> PollAnswer:
        """Return a device's target, by its own key. Raises DeviceKeyUnknown, DeviceUnknown, DeviceInactive."""
        presented = digest_of(api_key)
        with database_errors():
            found = await repository.poll(self._pool, uuid, prefix_of(presented), self._clock(), etags)
            if found is None or not is_key(found.digest, presented):
                await self._devices.explain(uuid)
                refusal = DeviceKeyUnknown()
                await self._decisions.refused(self._pool, refusal, device=uuid, source="states")
                raise refusal
        if not found.is_active:
            raise DeviceInactive(uuid=uuid)
        if self._witness is not None:
            self._witness.polled(uuid)
        if found.etag is None:  # nobody has said anything about this device yet
            return PollAnswer(_FIRST.etag, None if _FIRST.etag in etags else _FIRST.document)
        return PollAnswer(found.etag, found.document)

    async def report(self, uuid: str, fields: Mapping[str, Any]) -> None:
        """Note what a device says of itself; returns once it is stored. Raises ReportInvalid, ReportTooLarge, DeviceUnknown."""
        try:
            text = json.dumps(dict(fields), allow_nan=False)
        except (ValueError, TypeError, RecursionError) as exc:
            raise ReportInvalid("the report cannot be written as JSON") from exc
        now = self._clock()
        with database_errors():
            try:
                await self._merge(uuid, fields, text, now)
            except asyncpg.ForeignKeyViolationError as exc:
                raise DeviceUnknown(uuid=uuid) from exc
            except asyncpg.CheckViolationError as exc:
                refusal = ReportTooLarge()
                await self._decisions.refused(self._pool, refusal, device=uuid, source="states")
                raise refusal from exc
            # NUL, half a surrogate, too deep
            except (asyncpg.DataError, asyncpg.StatementTooComplexError) as exc:
                raise ReportInvalid(f"the report cannot be stored: {exc}") from exc
        if self._witness is not None:
            await self._witness.reported(uuid, fields, now)

    async def _merge(self, uuid: str, fields: Mapping[str, Any], text: str, at: datetime) -> None:
        if not self._events.follows(fields):
            await repository.merge_report(self._pool, uuid, text, at)
            return
        async with self._pool.acquire() as db, db.transaction():
            await self._events.reported(db, uuid, fields, at=at)
            await repository.merge_report(db, uuid, text, at)

    async def current(self, uuid: str) -> Report:
        """Return what a device said. Raises NoReport, DeviceUnknown."""
        with database_errors():
            found = await repository.report_of(self._pool, uuid)
            if found is None:
                await self._devices.explain(uuid)
                raise NoReport(uuid=uuid)
        return found

    async def begin(
        self, db: Database, uuid: str, content: Mapping[str, Any] | None = None, *, by: str = "service"
    ) -> None:
        """Give a device its first target, empty unless one is given, in the caller's transaction.

        Raises TargetInvalid, TargetTooLarge.
        """
        now = self._clock()
        first = (
            first_target(now) if content is None else make_target(checked(content), version=1, at=now, by=by)
        )
        await repository.begin(db, uuid, first)

    async def standing(self, uuid: str) -> Standing:
        """Return a device's target and what waits. Raises DeviceUnknown."""
        with database_errors():
            found = await repository.find(self._pool, uuid)
            if found is None and await repository.is_device(self._pool, uuid):
                # Announced, and nobody has said anything about it yet: it is looked at without being made.
                return Standing(target=_FIRST, draft=None, drafted_at=None, drafted_by=None)
        if found is None:
            raise DeviceUnknown(uuid=uuid)
        return found

    async def history(self, uuid: str, *, limit: int = 50) -> list[Target]:
        """Return the targets that a device had, the newest first."""
        with database_errors():
            return await repository.history(self._pool, uuid, limit)

    async def set_target(self, uuid: str, content: Mapping[str, Any], *, by: str) -> Standing:
        """Let {apps, config, options?} wait to be deployed. Raises TargetInvalid, TargetTooLarge, DeviceUnknown."""
        now = self._clock()
        try:
            normal = checked(content)
            make_target(normal, version=1, at=now, by=by)  # refused now if it could not be sent later
        except (TargetInvalid, TargetTooLarge) as exc:
            with database_errors():
                await self._decisions.refused(self._pool, exc, device=uuid, source="states")
            raise
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await self._locked(db, uuid)
                await repository.put_draft(db, uuid, normal, now, by)
                await self._trail.record(
                    db, by, "target.set", ("device", uuid), before=standing.draft, after=normal
                )
        log.info("target.set", device_uuid=uuid, by=by, in_force=standing.target.version)
        return Standing(target=standing.target, draft=normal, drafted_at=now, drafted_by=by)

    async def edit(
        self, uuid: str, change: Edit, *, by: str, action: str, expected_version: int | None = None
    ) -> Standing:
        """Change a part of a target, under its lock; returns what stands then. What is in force stays unless it differs.

        Raises what `change` does, TargetInvalid, TargetTooLarge, TargetChanged, DeviceUnknown.
        """
        put: Target | None = None
        try:
            with database_errors():
                async with self._pool.acquire() as db, db.transaction():
                    before = await self._locked(db, uuid)
                    _expect(expected_version, before)
                    edited = change(before)
                    if edited.in_force is not None and edited.in_force != before.target.content():
                        put = await self._put(db, uuid, before, checked(edited.in_force), by)
                        await self._note(db, uuid, "target.deployed", before.target, put)
                    after = await self._draft(db, uuid, put or before.target, edited.draft, by)
                    await self._trail.record(
                        db, by, action, ("device", uuid), before=before.draft, after=after.draft
                    )
        except (TargetInvalid, TargetTooLarge) as exc:
            with database_errors():
                await self._decisions.refused(self._pool, exc, device=uuid, source="states")
            raise
        if put is not None:
            await self._announce(uuid, put)
        return after

    async def _draft(
        self, db: Database, uuid: str, target: Target, content: Mapping[str, Any] | None, by: str
    ) -> Standing:
        """Let something wait beside a target, or nothing."""
        if content is None:
            await repository.put_draft(db, uuid, None, None, None)
            return Standing(target=target, draft=None, drafted_at=None, drafted_by=None)
        normal, now = checked(content), self._clock()
        make_target(normal, version=1, at=now, by=by)  # refused now if it could not be sent later
        await repository.put_draft(db, uuid, normal, now, by)
        return Standing(target=target, draft=normal, drafted_at=now, drafted_by=by)

    async def deploy(
        self,
        uuid: str,
        *,
        by: str,
        expected_version: int | None = None,
        finish: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> Target:
        """Put what waits in force as the next version. Raises NothingToDeploy, TargetChanged, DeviceUnknown.

        `expected_version` is the version that the caller believes to be in force; `finish` makes of what waits what
        is deployed (images by their digests).
        """
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await self._locked(db, uuid)
                _expect(expected_version, standing)
                if standing.draft is None:
                    raise NothingToDeploy(hint="set a target first", version=standing.target.version)
                content = finish(standing.draft) if finish else standing.draft
                target = await self._put(db, uuid, standing, content, by)
                await self._note(db, uuid, "target.deployed", standing.target, target)
        await self._announce(uuid, target)
        return target

    async def cancel(self, uuid: str, *, by: str = "service") -> Standing:
        """Drop what waits. Raises NothingToDeploy, DeviceUnknown."""
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await self._locked(db, uuid)
                if standing.draft is None:
                    raise NothingToDeploy(version=standing.target.version)
                await repository.put_draft(db, uuid, None, None, None)
                await self._trail.record(
                    db, by, "target.draft_cancelled", ("device", uuid), before=standing.draft
                )
                await self._decisions.decided(
                    db,
                    About.ROLLED_BACK,
                    "rollback.draft_cancelled",
                    device=uuid,
                    facts={"by": by},
                    source="states",
                )
        log.info("target.draft_cancelled", device_uuid=uuid)
        return Standing(target=standing.target, draft=None, drafted_at=None, drafted_by=None)

    async def roll_back(self, uuid: str, version: int, *, by: str) -> Target:
        """Put the content of an older version in force, as the next version; what waited is dropped.

        Raises VersionUnknown, DeviceUnknown.
        """
        with database_errors():
            async with self._pool.acquire() as db, db.transaction():
                standing = await self._locked(db, uuid)
                older = await repository.version_of(db, uuid, version)
                if older is None:
                    raise VersionUnknown(version=version, newest=standing.target.version)
                target = await self._put(db, uuid, standing, older.content(), by)
                await self._note(db, uuid, "target.rolled_back", standing.target, target)
                facts = {"by": by, "to_version": version, "version": target.version}
                await self._decisions.decided(
                    db, About.ROLLED_BACK, "rollback.by_operator", device=uuid, facts=facts, source="states"
                )
        await self._announce(uuid, target)
        return target

    async def _note(self, db: Database, uuid: str, action: str, before: Target, after: Target) -> None:
        """Write down, in the transaction of the change, that a target took the place of another."""
        versions = {"from_version": before.version, "version": after.version}
        await self._trail.record(
            db,
            after.deployed_by,
            action,
            ("device", uuid),
            before=before.content(),
            after=after.content(),
            details=versions,
        )
        document = after.content() | {"version": after.version}
        await self._events.target_changed(db, uuid, document, by=after.deployed_by, at=after.deployed_at)

    async def _locked(self, db: Database, uuid: str) -> Standing:
        standing = await repository.find(db, uuid, for_update=True)
        if standing is None and await repository.is_device(db, uuid):
            await repository.begin(db, uuid, first_target(self._clock()))
            standing = await repository.find(db, uuid, for_update=True)
        if standing is None:
            raise DeviceUnknown(uuid=uuid)
        return standing

    async def _put(
        self, db: Database, uuid: str, standing: Standing, content: Mapping[str, Any], by: str
    ) -> Target:
        target = make_target(content, version=standing.target.version + 1, at=self._clock(), by=by)
        await repository.put_in_force(db, uuid, target)
        log.info("target.deployed", device_uuid=uuid, version=target.version, by=by)
        return target

    async def _announce(self, uuid: str, target: Target) -> None:
        if self._announcer is None:
            return
        try:
            await self._announcer.announce(uuid, target.version, target.etag)
        except IotisticError as exc:
            log.warning("target.not_announced", device_uuid=uuid, code=exc.code, reason=exc.message)


def _expect(version: int | None, standing: Standing) -> None:
    if version not in (None, standing.target.version):
        raise TargetChanged(
            f"version {standing.target.version} is in force, not {version}",
            hint="look at the target again, and repeat the change if it is still wanted",
            version=standing.target.version,
        )
