"""Why a step is not run at all."""

from iotistic.kernel.errors import Denied, Invalid, Unavailable


class HandlerRefused(Denied):
    """The handler is not one that may be run."""

    code = "job.handler_refused"


class UserRefused(Denied):
    """The step cannot be run as that user."""

    code = "job.user_refused"


class ProgramUnusable(Invalid):
    """The program cannot be started."""

    code = "job.program_unusable"


class TooManyJobs(Unavailable):
    """As many jobs as may wait are waiting."""

    code = "job.too_many"
