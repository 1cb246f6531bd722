"""Templates and handlers: what jobs are made from."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.audit.port import NO_TRAIL, Trail
from iotistic.control.devices.repository import Database
from iotistic.control.jobs import catalogue_rows
from iotistic.control.jobs.documents import read_document
from iotistic.control.jobs.model import Handler, HandlerUnknown, NameTaken, Template, TemplateUnknown
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


class Catalogue:
    """Keeps templates and handlers; values come by the names of their fields, checked by the routes."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime], trail: Trail = NO_TRAIL) -> None:
        self._pool, self._clock, self._trail = pool, clock, trail

    @asynccontextmanager
    async def _noted(self, values: Mapping[str, Any]) -> AsyncGenerator[Database]:
        """Give a transaction for a change and its entry in the trail. Raises NameTaken."""
        with database_errors():
            try:
                async with self._pool.acquire() as db, db.transaction():
                    yield db
            except asyncpg.UniqueViolationError as exc:
                raise NameTaken(name=values.get("name")) from exc

    async def add_template(self, values: Mapping[str, Any], *, by: str) -> Template:
        """Keep a template. Raises DocumentInvalid, NameTaken."""
        read_document(values["document"])
        async with self._noted(values) as db:
            made = await catalogue_rows.add_template(db, values, by, self._clock())
            after = {"name": made.name}
            await self._trail.record(db, by, "job_template.created", ("job-template", made.id), after=after)
        log.info("job_template.created", template_id=str(made.id), by=by)
        return made

    async def templates(
        self,
        *,
        category: str | None = None,
        is_active: bool | None = None,
        after: str | None = None,
        limit: int,
    ) -> list[Template]:
        """Return templates by name, those behind `after`."""
        with database_errors():
            return await catalogue_rows.templates(
                self._pool, category=category, is_active=is_active, after=after, limit=limit
            )

    async def template(self, template_id: UUID) -> Template:
        """Return a template. Raises TemplateUnknown."""
        with database_errors():
            found = await catalogue_rows.template(self._pool, template_id)
        if found is None:
            raise TemplateUnknown(id=str(template_id))
        return found

    async def change_template(self, template_id: UUID, values: Mapping[str, Any], *, by: str) -> Template:
        """Change what is named; jobs that were made stay. Raises TemplateUnknown, DocumentInvalid, NameTaken."""
        if values.get("document") is not None:
            read_document(values["document"])
        async with self._noted(values) as db:
            found = await catalogue_rows.change_template(db, template_id, values, self._clock())
            if found is None:
                raise TemplateUnknown(id=str(template_id))
            details = {"name": found.name, "changed": sorted(values)}
            await self._trail.record(
                db, by, "job_template.changed", ("job-template", template_id), details=details
            )
        log.info("job_template.changed", template_id=str(template_id), by=by)
        return found

    async def remove_template(self, template_id: UUID, *, by: str) -> None:
        """Remove a template. Raises TemplateUnknown."""
        async with self._noted({}) as db:
            if not await catalogue_rows.remove_template(db, template_id):
                raise TemplateUnknown(id=str(template_id))
            await self._trail.record(db, by, "job_template.removed", ("job-template", template_id))
        log.info("job_template.removed", template_id=str(template_id), by=by)

    async def add_handler(self, values: Mapping[str, Any], *, by: str) -> Handler:
        """Keep a handler. Raises NameTaken."""
        async with self._noted(values) as db:
            made = await catalogue_rows.add_handler(db, values, by, self._clock())
            after = {"name": made.name}
            await self._trail.record(db, by, "job_handler.created", ("job-handler", made.id), after=after)
        log.info("job_handler.created", handler_id=str(made.id), by=by)
        return made

    async def handlers(self, *, after: str | None = None, limit: int) -> list[Handler]:
        """Return handlers by name, those behind `after`."""
        with database_errors():
            return await catalogue_rows.handlers(self._pool, after=after, limit=limit)

    async def handler(self, handler_id: UUID) -> Handler:
        """Return a handler. Raises HandlerUnknown."""
        with database_errors():
            found = await catalogue_rows.handler(self._pool, handler_id)
        if found is None:
            raise HandlerUnknown(id=str(handler_id))
        return found

    async def change_handler(self, handler_id: UUID, values: Mapping[str, Any], *, by: str) -> Handler:
        """Change what is named. Raises HandlerUnknown, NameTaken."""
        async with self._noted(values) as db:
            found = await catalogue_rows.change_handler(db, handler_id, values, self._clock())
            if found is None:
                raise HandlerUnknown(id=str(handler_id))
            details = {"name": found.name, "changed": sorted(values)}
            await self._trail.record(
                db, by, "job_handler.changed", ("job-handler", handler_id), details=details
            )
        log.info("job_handler.changed", handler_id=str(handler_id), by=by)
        return found

    async def remove_handler(self, handler_id: UUID, *, by: str) -> None:
        """Remove a handler. Raises HandlerUnknown."""
        async with self._noted({}) as db:
            if not await catalogue_rows.remove_handler(db, handler_id):
                raise HandlerUnknown(id=str(handler_id))
            await self._trail.record(db, by, "job_handler.removed", ("job-handler", handler_id))
        log.info("job_handler.removed", handler_id=str(handler_id), by=by)
