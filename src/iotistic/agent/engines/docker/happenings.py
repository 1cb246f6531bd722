"""Docker's events, as the agent hears them."""

import json
from collections.abc import Mapping

from iotistic.agent.engines.docker import names
from iotistic.agent.engines.docker.documents import Json, part
from iotistic.agent.engines.port import Change, Event

HEARD = ("create", "start", "die", "kill", "pause", "unpause", "oom", "rename", "update", "destroy")
"""Docker also tells of each command of a probe, which is nobody's business here."""
_GENTLE = {"1", "10", "12", "17", "18", "23", "28", "HUP", "USR1", "USR2", "CHLD", "CONT", "URG", "WINCH"}
"""Signals by which a container is told something else than to end."""


def wanted() -> dict[str, str]:
    """Return the query of a stream of what happens to containers of ours."""
    heard = {"type": ["container"], "label": [names.APP_ID], "event": list(HEARD)}
    return {"filters": json.dumps(heard)}


class Ear:
    """Makes sense of events in their order: Docker tells of an order to end before it tells of the end."""

    def __init__(self) -> None:
        self._ordered: set[str] = set()

    def hear(self, said: Json) -> Event | None:
        """Return what happened, None for what is not of ours."""
        actor = part(said, "Actor")
        about: Mapping[str, str] = part(actor, "Attributes")
        container_id, action = str(actor.get("ID", "")), str(said.get("Action", ""))
        key = names.key_of(about)
        if key is None:
            return None
        if action == "kill" and about.get("signal", "").removeprefix("SIG") not in _GENTLE:
            self._ordered.add(container_id)
        if action == "die":
            by_order = container_id in self._ordered
            self._ordered.discard(container_id)
            exit_code = int(about["exitCode"]) if about.get("exitCode", "").isdigit() else None
            return Event(Change.ENDED, container_id, key, exit_code, by_order)
        if action in ("start", "destroy"):
            self._ordered.discard(container_id)
        change = Change.STARTED if action == "start" else Change.OTHER
        return Event(change, container_id, key)
