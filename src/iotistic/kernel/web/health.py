"""Health that tells the truth: `live` means the loop turns, `ready` means that every check passed now."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from iotistic.kernel.errors import IotisticError, Unavailable
from iotistic.kernel.web.auth import Public
from iotistic.kernel.web.describing import Answer, answered

Check = Callable[[], Awaitable[object]]
"""Raises when the thing it looks at is not usable, Degraded when that stops nobody; what it returns is ignored."""

_DEGRADED = "degraded: "
_REUSE_S = 0.5  # `ready` is open to anybody: a flood of calls must not become a flood of checks


class Degraded(Unavailable):
    """Something that helps is away; the work goes on without it."""

    code = "degraded"


class Health(BaseModel):
    """Whether the process is ready, and for each check `ok`, `degraded: …` (still ready), or why not."""

    ready: bool
    checks: dict[str, str]


class Readiness:
    """The checks that `/health/ready` runs, all at once, each for at most `timeout_s` seconds."""

    def __init__(self, checks: Mapping[str, Check] | None = None, *, timeout_s: float = 2.0) -> None:
        self._checks = dict(checks or {})
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()
        self._last: tuple[float, Health] | None = None

    def add(self, name: str, check: Check) -> None:
        """Register `check`; a name that stands is replaced."""
        self._checks[name] = check
        self._last = None

    async def look(self) -> Health:
        """Run the checks, or repeat an answer that is younger than half a second."""
        async with self._lock:
            if self._last is None or time.monotonic() - self._last[0] > _REUSE_S:
                answers = await asyncio.gather(*(self._run(check) for check in self._checks.values()))
                checks = dict(zip(self._checks, answers, strict=True))
                ready = all(answer == "ok" or answer.startswith(_DEGRADED) for answer in answers)
                health = Health(ready=ready, checks=checks)
                self._last = (time.monotonic(), health)
            return self._last[1]

    async def _run(self, check: Check) -> str:
        try:
            await asyncio.wait_for(check(), self._timeout_s)
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Degraded as exc:
            return f"{_DEGRADED}{exc.message}"
        except IotisticError as exc:
            return f"{exc.code}: {exc.message}"
        except Exception as exc:  # noqa: BLE001  a failing check is the answer, whatever failed
            return type(exc).__name__
        return "ok"


class Alive(Answer):
    """That the process turns."""

    live: bool


def health_router(readiness: Readiness) -> APIRouter:
    """Return the routes `/health/live` and `/health/ready`."""
    router = APIRouter(
        prefix="/health", tags=["health"], dependencies=[Depends(Public("supervisors ask without a token"))]
    )

    @router.get("/live", responses=answered(Alive))
    async def live() -> dict[str, bool]:
        """Whether the process turns at all; restart it when this does not answer."""
        return {"live": True}

    @router.get("/ready", responses={503: {"model": Health, "description": "A check failed"}})
    async def ready(response: Response) -> Health:
        """Whether requests can be served now, and otherwise which check failed and why."""
        health = await readiness.look()
        response.status_code = 200 if health.ready else 503
        return health

    _ = live, ready
    return router
