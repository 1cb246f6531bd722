"""Settings of jobs in the control plane."""

from pydantic import Field

from iotistic.kernel.settings import Settings


class JobDeskSettings(Settings):
    """How jobs are kept and looked after."""

    job_scheduler_enabled: bool = True
    """Whether this process starts what is due, ends what is late and tells devices; several may."""
    job_scheduler_round_s: float = Field(default=1.0, gt=0)
    """Seconds between two looks at what is due."""
    job_join_round_s: float = Field(default=10.0, gt=0)
    """Seconds between two looks for devices that a continuous job does not have yet."""
    job_wait_hours: float = Field(default=168.0, gt=0, le=8784)
    """Hours that a job waits for a device to begin, unless it says otherwise: a device may be away over a holiday."""
    job_report_grace_minutes: float = Field(default=15.0, ge=0)
    """Minutes past a job's time-out until a device that says nothing is given up: it may be cut off while it works."""
    job_output_kept_kb: int = Field(default=64, ge=1, le=1024)
    """Times 1,024 characters kept of each of the two outputs of a try: half from its beginning, half from its end."""
    job_retention_days: float = Field(default=90.0, gt=0)
    """Days that jobs which are over are kept."""
