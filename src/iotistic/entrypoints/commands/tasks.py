"""`iotistic tasks`: the control plane's background work; what is due, what failed, run it now."""

import time

from cyclopts import App

from iotistic.control.upkeep.schemas import RunAnswer, RunState, TaskDetail, TaskList, TaskState
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.installation import Api, connect
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid, Unavailable

app = App(
    name="tasks", help="Background work: list it, run it, switch it off and on.", help_format="plaintext"
)

_COLUMNS = ("name", "schedule", "status", "next_run", "last_run", "took_s", "outcome")
_RUNS = ("id", "outcome", "cause", "started_at", "duration_s", "error")
_POLL_S, _WITHIN_S = 0.5, 3600.0
_DONE = 0
_FAILED = 1


class RunNotTaken(Unavailable):
    """No process took the run up in time, or it is not over yet."""

    code = "upkeep.run_not_over"


@app.default
@app.command(name="list")
def list_tasks(*, json: AsJson = False) -> None:
    """List every task with its next run and its last one."""
    found = connect().get("/tasks", TaskList).tasks
    if json:
        emit(found, json=True)
    else:
        emit([_row(task) for task in found], json=False, columns=_COLUMNS)


@app.command
def show(name: str, *, limit: int = 10, json: AsJson = False) -> None:
    """Show one task, and its newest runs with what they put out.

    Parameters
    ----------
    name
        As `iotistic tasks list` names it.
    limit
        Most runs to show.
    """
    detail = connect().get(_path(name), TaskDetail, limit=limit)
    if json:
        emit(detail, json=True)
        return
    task = detail.task
    about = {"name": task.name, "what": task.summary, "done by": task.where, **_row(task)}
    last = task.last_run
    if last is not None:
        about |= {"output": last.output or None, "error": last.error or None}
    emit(about | ({"figures": task.figures} if task.is_read_only else {}), json=False)
    if detail.runs:
        emit([run.model_dump() for run in detail.runs], json=False, columns=_RUNS)


@app.command(name="run")
def run_now(name: str, *, wait: bool = True, json: AsJson = False) -> int:
    """Run a task now and wait for its end; ends with status 1 when it did not succeed.

    Parameters
    ----------
    name
        As `iotistic tasks list` names it; one that is switched off runs, too.
    wait
        With --no-wait the command ends as soon as the run is asked for.
    """
    api = connect()
    run = api.post(f"{_path(name)}/run", RunAnswer).run
    if wait:
        run = _ended(api, run)
    if json:
        emit(run, json=True)
    else:
        shown = run.model_dump(
            include={"id", "task", "outcome", "duration_s", "output", "error_code", "error"}
        )
        emit({key: value for key, value in shown.items() if value not in ("", None, {})}, json=False)
    return _DONE if run.outcome in ("succeeded", "waiting", "running") else _FAILED


@app.command
def toggle(name: str, *, on: bool | None = None, json: AsJson = False) -> None:
    """Switch a task off, or on again.

    Parameters
    ----------
    name
        As `iotistic tasks list` names it.
    on
        --on or --no-on; without it, to the other of the two.
    """
    answer = connect().request("PATCH", f"{_path(name)}/toggle", body={} if on is None else {"enabled": on})
    task = TaskState.model_validate_json(answer.content)
    emit(task if json else f"{task.name} is {'on' if task.enabled else 'off'}", json=json)


def _path(name: str) -> str:
    if not name.isascii() or not name.replace("-", "").isalnum():
        raise Invalid(f"{name!r} is no name of a task", hint="`iotistic tasks list` shows them")
    return f"/tasks/{name}"


def _ended(api: Api, run: RunState) -> RunState:
    """Return the run when it is over. Raises RunNotTaken."""
    until = time.monotonic() + _WITHIN_S
    while run.finished_at is None:
        if time.monotonic() > until:
            raise RunNotTaken(hint="see `iotistic status`: the control process carries tasks out")
        time.sleep(_POLL_S)
        run = api.get(f"{_path(run.task)}/runs/{run.id}", RunAnswer).run
    return run


def _row(task: TaskState) -> dict[str, object]:
    last = task.last_run
    return {
        "name": task.name,
        "schedule": task.schedule,
        "status": task.status,
        "next_run": task.next_run_at,
        "last_run": last.started_at if last else None,
        "took_s": round(last.duration_s, 2) if last and last.duration_s is not None else None,
        "outcome": last.outcome if last else None,
    }
