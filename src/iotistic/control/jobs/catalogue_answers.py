"""Templates and handlers of jobs as their description has them; the answers themselves are made in `shown`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from iotistic.control.jobs.schemas import ScriptType
from iotistic.kernel.web.describing import Answer


class JobTemplate(Answer):
    """A document with a name."""

    id: UUID
    name: str
    description: str
    category: str
    job_document: dict[str, Any]
    is_active: bool
    created_by: str
    created_at: datetime
    updated_at: datetime


class JobTemplates(Answer):
    """Templates by name; `next_after` is null on the last page."""

    templates: list[JobTemplate]
    next_after: str | None


class OneJobTemplate(Answer):
    """A template."""

    template: JobTemplate


class JobHandler(Answer):
    """A program that documents call by name."""

    id: UUID
    name: str
    description: str
    script_type: ScriptType
    script_content: str
    default_args: list[str]
    created_by: str
    created_at: datetime
    updated_at: datetime


class JobHandlers(Answer):
    """Handlers by name; `next_after` is null on the last page."""

    handlers: list[JobHandler]
    next_after: str | None


class OneJobHandler(Answer):
    """A handler."""

    handler: JobHandler
