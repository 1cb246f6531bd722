"""Templates and handlers: what jobs are made from."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from iotistic.control.jobs import catalogue_rows
from iotistic.control.jobs.documents import read_document
from iotistic.control.jobs.model import Handler, HandlerUnknown, NameTaken, Template, TemplateUnknown
from iotistic.kernel.postgres.pool import database_errors

log = structlog.get_logger()


class Catalogue:
    """Keeps templates and handlers; values come by the names of their fields, checked by the routes."""

    def __init__(self, pool: asyncpg.Pool, *, clock: Callable[[], datetime]) -> None:
        self._pool, self._clock = pool, clock

    async def add_template(self, values: Mapping[str, Any], *, by: str) -> Template:
        """Keep a template. Raises DocumentInvalid, NameTaken."""
        read_document(values["document"])
        with database_errors():
            try:
                made = await catalogue_rows.add_template(self._pool, values, by, self._clock())
            except asyncpg.UniqueViolationError as exc:
                raise NameTaken(name=values["name"]) from exc
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
        with database_errors():
            try:
                found = await catalogue_rows.change_template(self._pool, template_id, values, self._clock())
            except asyncpg.UniqueViolationError as exc:
                raise NameTaken(name=values.get("name")) from exc
        if found is None:
            raise TemplateUnknown(id=str(template_id))
        log.info("job_template.changed", template_id=str(template_id), by=by)
        return found

    async def remove_template(self, template_id: UUID, *, by: str) -> None:
        """Remove a template. Raises TemplateUnknown."""
        with database_errors():
            if not await catalogue_rows.remove_template(self._pool, template_id):
                raise TemplateUnknown(id=str(template_id))
        log.info("job_template.removed", template_id=str(template_id), by=by)

    async def add_handler(self, values: Mapping[str, Any], *, by: str) -> Handler:
        """Keep a handler. Raises NameTaken."""
        with database_errors():
            try:
                made = await catalogue_rows.add_handler(self._pool, values, by, self._clock())
            except asyncpg.UniqueViolationError as exc:
                raise NameTaken(name=values["name"]) from exc
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
        with database_errors():
            try:
                found = await catalogue_rows.change_handler(self._pool, handler_id, values, self._clock())
            except asyncpg.UniqueViolationError as exc:
                raise NameTaken(name=values.get("name")) from exc
        if found is None:
            raise HandlerUnknown(id=str(handler_id))
        log.info("job_handler.changed", handler_id=str(handler_id), by=by)
        return found

    async def remove_handler(self, handler_id: UUID, *, by: str) -> None:
        """Remove a handler. Raises HandlerUnknown."""
        with database_errors():
            if not await catalogue_rows.remove_handler(self._pool, handler_id):
                raise HandlerUnknown(id=str(handler_id))
        log.info("job_handler.removed", handler_id=str(handler_id), by=by)
