"""Settings of jobs."""

from pathlib import Path

from iotistic.kernel.settings import Settings
from iotistic.kernel.settings_words import Field


class JobSettings(Settings):
    """What the cloud may have this device run."""

    enable_cloud_jobs: bool = False
    """Whether the device asks for jobs and runs them. Off unless said: a job may run any command."""
    cloud_jobs_polling_interval: int = Field(default=30_000, ge=1000)
    """Milliseconds between questions for a job; twenty times as many while MQTT announces them."""
    job_handler_dir: Path | None = None
    """Folder with the programs that steps of type runHandler may run; without it there are none."""
    job_timeout_minutes: int = Field(default=60, ge=1)
    """Minutes that a job may take when neither its document nor the cloud says."""
    job_step_timeout_minutes: int = Field(default=60, ge=1)
    """Minutes that a step may take when it does not say, and never more than what is left of its job."""
    job_output_kb: int = Field(default=64, ge=1, le=1024)
    """Kilobytes (1,024 bytes) kept of each of a job's two outputs: half from its beginning, half from its end."""
