"""Signs of life as those who serve devices name them."""

from iotistic.control.presence.model import Sign
from iotistic.control.presence.service import Presence


class PresenceAttendance:
    """Notices polls, reports and logs."""

    def __init__(self, presence: Presence) -> None:
        self._presence = presence

    def polled(self, uuid: str) -> None:
        """A device asked for its target."""
        self._presence.renew(uuid, Sign.POLL)

    def reported(self, uuid: str) -> None:
        """A device told of itself."""
        self._presence.renew(uuid, Sign.REPORT)

    def logged(self, uuid: str) -> None:
        """A device sent its log."""
        self._presence.renew(uuid, Sign.LOGS)

    async def left(self, uuid: str) -> None:
        """A device said that it is going."""
        await self._presence.left(uuid)
