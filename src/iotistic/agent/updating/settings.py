"""Where updates of the agent come from, whom the device believes, and when it takes them."""

from iotistic.agent.updating.deciding import Window, read_window
from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field, field_validator


class UpdateSettings(Settings):
    """Updates of the agent. Without a source and a key the device takes none."""

    agent_update_source: str = ""
    """Folder, or https URL, of signed releases; the cloud says which version, never where from. Empty: no updates."""
    agent_update_key: str = Field(default="", repr=False)
    """Public key (PEM, Ed25519) that releases are signed with; usually AGENT_UPDATE_KEY_FILE. Empty: no updates."""
    agent_update_window: str = ""
    """Hours of the day (UTC) in which the agent may be updated, as 01:00-04:30; empty: at any time."""
    agent_update_trial_s: int = Field(default=300, ge=5, le=3600)
    """Seconds in which a new version has to reach containers and cloud; otherwise the one before comes back."""

    @field_validator("agent_update_window")
    @classmethod
    def _check_window(cls, value: str) -> str:
        read_window(value)
        return value

    @property
    def update_window(self) -> Window | None:
        """The window, None for any time."""
        return read_window(self.agent_update_window)
