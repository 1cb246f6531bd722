"""Fills the board from the API: once a second what moves, less often what rarely does."""

import time
from collections.abc import Mapping
from typing import Any

import httpx2

from iotistic.entrypoints.installation import Api
from iotistic.entrypoints.live.board import Board
from iotistic.kernel.errors import IotisticError
from iotistic.telemetry.dead_letters.schemas import LetterCounts
from iotistic.telemetry.query.schemas import DevicePage, LatestValues, Stats

SHOWN_DEVICES = 100  # as many as one request for latest values may name
_DEVICES_EVERY_S = 5.0
_HEALTH_TIMEOUT_S = 1.0
_AGENT = "agent"


class Feed:
    """Asks one API; `health` maps process names to readiness URLs on this machine."""

    def __init__(self, api: Api, health: Mapping[str, str]) -> None:
        self._api = api
        self._health = health
        self._client = httpx2.Client(timeout=_HEALTH_TIMEOUT_S, verify=False)
        self._devices_at = float("-inf")

    def refresh(self, board: Board) -> None:
        """Bring `board` up to date; what cannot be asked is said in `board.trouble`."""
        try:
            self.ask(board)
            board.trouble = None
        except IotisticError as exc:
            board.trouble = exc.message

    def ask(self, board: Board) -> None:
        """Bring `board` up to date; raise what goes wrong."""
        board.take_stats(self._api.get("/telemetry/stats", Stats))
        if time.monotonic() - self._devices_at > _DEVICES_EVERY_S:
            self._refresh_rarely(board)
            self._devices_at = time.monotonic()
        if board.devices:
            latest = self._api.get("/telemetry/latest", LatestValues, device=list(board.devices))
            board.take_latest(latest.items)

    def _refresh_rarely(self, board: Board) -> None:
        page = self._api.get("/telemetry/devices", DevicePage, limit=SHOWN_DEVICES, sort="-last_seen")
        board.devices = {device.id: device for device in page.items}
        board.health = {name: self._is_ready(url) for name, url in self._health.items()}
        board.dead_letters = self._dead_letters()
        board.agent = self._agent()

    def _dead_letters(self) -> Mapping[str, int]:
        counts = self._api.get("/telemetry/dead-letters/summary", LetterCounts)
        return {item.reason: item.open for item in counts.items if item.open}

    def _agent(self) -> str:
        """Say what the agent runs, as its device API tells; nothing when there is no agent."""
        ping = self._health.get(_AGENT)
        if ping is None:
            return ""
        base = ping.removesuffix("/ping")
        try:
            engine = self._client.get(f"{base}/v2/device").json()["engine"]
            services = self._client.get(f"{base}/v1/services").json()["services"]
        except (httpx2.HTTPError, ValueError, KeyError, TypeError):
            return "does not answer"
        told = [f"{one['serviceName']} {_state(one)}" for one in services]
        return f"{engine}: {', '.join(told) or 'no services'}"

    def _is_ready(self, url: str) -> bool:
        try:
            return self._client.get(url).is_success
        except httpx2.TransportError:
            return False


def _state(service: Mapping[str, Any]) -> str:
    error = service.get("error")
    return str(error["type"]) if error else str(service["status"])
