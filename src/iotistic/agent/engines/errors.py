"""What engines raise: a kind for each thing that a reconciler can do about it."""

from iotistic.kernel.errors import Conflict, Invalid, NotFound, Unavailable


class EngineUnavailable(Unavailable):
    """The container engine does not answer."""

    code = "engine.unavailable"


class ImageUnavailable(Unavailable):
    """The image cannot be fetched now."""

    code = "engine.image_unavailable"


class ImageNotFound(NotFound):
    """The registry has no such image, or does not show it to us."""

    code = "engine.image_not_found"


class ContainerNotFound(NotFound):
    """The container is not there any more."""

    code = "engine.container_not_found"


class StartRefused(Conflict):
    """The engine could not start the container."""

    code = "engine.start_refused"


class StepRefused(Invalid):
    """The engine refused what it was told."""

    code = "engine.step_refused"
