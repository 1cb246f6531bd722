"""/jobs/templates and /jobs/handlers."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.jobs.answers import JobMessage
from iotistic.control.jobs.catalogue import Catalogue
from iotistic.control.jobs.catalogue_answers import JobHandlers, JobTemplates, OneJobHandler, OneJobTemplate
from iotistic.control.jobs.schemas import (
    HandlerChange,
    HandlerRequest,
    Short,
    TemplateChange,
    TemplateRequest,
)
from iotistic.control.jobs.shown import shown_handler, shown_template
from iotistic.kernel.web.describing import answered

_Reader = requires(Permission.DEVICE_READ)
_Writer = Annotated[Caller, requires(Permission.DEVICE_WRITE)]
_Limit = Annotated[int, Query(ge=1, le=500)]
_After = Annotated[Short | None, Query(description="`next_after` of the page before.")]


def template_router(catalogue: Catalogue) -> APIRouter:
    """Return the routes of templates."""
    router = APIRouter(prefix="/jobs/templates", tags=["jobs"], route_class=DeviceRoute)

    @router.get("", dependencies=[_Reader], responses=answered(JobTemplates))
    async def list_job_templates(
        category: Annotated[Short | None, Query()] = None,
        is_active: bool | None = None,
        after: _After = None,
        limit: _Limit = 100,
    ) -> dict[str, Any]:
        """Templates by name."""
        found = await catalogue.templates(
            category=category, is_active=is_active, after=after, limit=limit + 1
        )
        following = found[limit - 1].name.lower() if len(found) > limit else None
        return {"templates": [shown_template(one) for one in found[:limit]], "next_after": following}

    @router.post("", status_code=201, responses=answered(OneJobTemplate, status=201))
    async def create_job_template(asked: TemplateRequest, caller: _Writer) -> dict[str, Any]:
        """Keep a document under a name."""
        return {"template": shown_template(await catalogue.add_template(asked.values(), by=caller.name))}

    @router.get("/{template_id}", dependencies=[_Reader], responses=answered(OneJobTemplate))
    async def find_job_template(template_id: UUID) -> dict[str, Any]:
        """One template."""
        return {"template": shown_template(await catalogue.template(template_id))}

    @router.put("/{template_id}", responses=answered(OneJobTemplate))
    @router.patch("/{template_id}", responses=answered(OneJobTemplate))
    async def change_job_template(
        template_id: UUID, asked: TemplateChange, caller: _Writer
    ) -> dict[str, Any]:
        """Change what the body names; jobs and schedules that were made from it stay as they are."""
        changed = await catalogue.change_template(template_id, asked.values(), by=caller.name)
        return {"template": shown_template(changed)}

    @router.delete("/{template_id}", responses=answered(JobMessage))
    async def delete_job_template(template_id: UUID, caller: _Writer) -> dict[str, str]:
        """Remove a template; jobs and schedules that were made from it stay."""
        await catalogue.remove_template(template_id, by=caller.name)
        return {"message": "the template is removed"}

    _ = list_job_templates, create_job_template, find_job_template, change_job_template, delete_job_template
    return router


def handler_router(catalogue: Catalogue) -> APIRouter:
    """Return the routes of handlers."""
    router = APIRouter(prefix="/jobs/handlers", tags=["jobs"], route_class=DeviceRoute)

    @router.get("", dependencies=[_Reader], responses=answered(JobHandlers))
    async def list_job_handlers(after: _After = None, limit: _Limit = 100) -> dict[str, Any]:
        """Handlers by name."""
        found = await catalogue.handlers(after=after, limit=limit + 1)
        following = found[limit - 1].name if len(found) > limit else None
        return {"handlers": [shown_handler(one) for one in found[:limit]], "next_after": following}

    @router.post("", status_code=201, responses=answered(OneJobHandler, status=201))
    async def create_job_handler(asked: HandlerRequest, caller: _Writer) -> dict[str, Any]:
        """Keep a program under the name that documents call it by."""
        return {"handler": shown_handler(await catalogue.add_handler(asked.values(), by=caller.name))}

    @router.get("/{handler_id}", dependencies=[_Reader], responses=answered(OneJobHandler))
    async def find_job_handler(handler_id: UUID) -> dict[str, Any]:
        """One handler."""
        return {"handler": shown_handler(await catalogue.handler(handler_id))}

    @router.put("/{handler_id}", responses=answered(OneJobHandler))
    @router.patch("/{handler_id}", responses=answered(OneJobHandler))
    async def change_job_handler(handler_id: UUID, asked: HandlerChange, caller: _Writer) -> dict[str, Any]:
        """Change what the body names."""
        changed = await catalogue.change_handler(handler_id, asked.values(), by=caller.name)
        return {"handler": shown_handler(changed)}

    @router.delete("/{handler_id}", responses=answered(JobMessage))
    async def delete_job_handler(handler_id: UUID, caller: _Writer) -> dict[str, str]:
        """Remove a handler."""
        await catalogue.remove_handler(handler_id, by=caller.name)
        return {"message": "the handler is removed"}

    _ = list_job_handlers, create_job_handler, find_job_handler, change_job_handler, delete_job_handler
    return router
