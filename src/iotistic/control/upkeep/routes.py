"""/tasks: what is done in the background.

GET   /tasks, /tasks/status        every task; all of them in one look
GET   /tasks/{name}                one, with its newest runs
GET   /tasks/{name}/runs/{id}      one run
POST  /tasks/{name}/run            now
PATCH /tasks/{name}/toggle         off, or on again
"""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Query

from iotistic.control.access.model import Caller, Permission
from iotistic.control.access.rules import requires
from iotistic.control.devices.wire import DeviceRoute
from iotistic.control.upkeep.schemas import (
    RunAnswer,
    RunState,
    TaskDetail,
    TaskList,
    TaskState,
    ToggleRequest,
    UpkeepStatus,
    status_of,
)
from iotistic.control.upkeep.service import UpkeepService

_Reader = requires(Permission.SETTINGS_READ)
_Writer = Annotated[Caller, requires(Permission.SETTINGS_WRITE)]
_Name = Annotated[str, Path(max_length=64, pattern="^[a-z0-9-]+$")]
_RunId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_Before = Annotated[int | None, Query(ge=1, le=2**63 - 1, description="Runs that are older than this one.")]


def upkeep_router(service: UpkeepService) -> APIRouter:
    """Return the routes."""
    router = APIRouter(prefix="/tasks", tags=["tasks"], route_class=DeviceRoute)

    @router.get("", operation_id="list_tasks", dependencies=[_Reader])
    async def list_tasks() -> TaskList:
        """Every task: its schedule, its next run, its last one; and what other processes do, read-only."""
        own = [TaskState.of(one) for one in await service.tasks()]
        others = [TaskState.seen(one) for one in await service.watched()]
        return TaskList(tasks=sorted([*own, *others], key=lambda task: task.name))

    @router.get("/status", operation_id="show_task_status", dependencies=[_Reader])
    async def show_status() -> UpkeepStatus:
        """Whether somebody carries the tasks out, and which of them are late or failing."""
        return status_of(await service.tasks())

    @router.get("/{name}", operation_id="show_task", dependencies=[_Reader])
    async def show_task(
        name: _Name, before: _Before = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> TaskDetail:
        """One task, and its runs from the newest on."""
        if (seen := await service.elsewhere(name)) is not None:
            return TaskDetail(task=TaskState.seen(seen), runs=[])
        task = TaskState.of(await service.task(name))
        runs = await service.runs(name, before=before, limit=limit)
        return TaskDetail(task=task, runs=[RunState.of(run) for run in runs])

    @router.get("/{name}/runs/{run_id}", operation_id="show_task_run", dependencies=[_Reader])
    async def show_run(name: _Name, run_id: _RunId) -> RunAnswer:
        """One run: what it put out, or why it failed."""
        return RunAnswer(run=RunState.of(await service.run(name, run_id)))

    @router.post("/{name}/run", operation_id="run_task", status_code=202)
    async def run_task(name: _Name, caller: _Writer) -> RunAnswer:
        """Have it run now; the answer names the run to ask for. 409 while it runs."""
        return RunAnswer(run=RunState.of(await service.ask(name, by=caller)))

    @router.patch("/{name}/toggle", operation_id="toggle_task")
    async def toggle_task(
        name: _Name, caller: _Writer, asked: Annotated[ToggleRequest | None, Body()] = None
    ) -> TaskState:
        """Switch it off or on; without a body to the other. Moments that passed while it was off are not made up for."""
        return TaskState.of(await service.toggle(name, asked.enabled if asked else None, by=caller))

    _ = list_tasks, show_status, show_task, show_run, run_task, toggle_task
    return router
