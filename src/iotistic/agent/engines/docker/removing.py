"""Images go when nothing of ours needs them, and never while somebody else's container uses one.

An image without a name is what is left when its tag went to another one, by a pull of somebody's. No plan can
name it, so it goes with the last container of ours that was made from it; one that no registry has stays.
"""

import structlog

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import Json, entries
from iotistic.agent.engines.errors import StepRefused
from iotistic.planning.images import split

log = structlog.get_logger()

_GONE, _IN_THE_WAY = 404, 409


async def remove_image(client: DockerClient, image: str) -> None:
    """Remove an image; one that is gone, or that somebody else's container uses, is fine. Raises StepRefused."""
    try:
        await client.call("DELETE", f"images/{_as_docker_takes_it(image)}")
    except Refused as exc:
        if exc.status == _IN_THE_WAY:
            log.info("image.left", image=image, reason=exc.message)
        elif exc.status != _GONE:
            raise StepRefused(exc.message) from exc


async def remove_nameless(client: DockerClient, container: Json) -> None:
    """Remove the image of a container that is gone, if its tag went to another one and nobody uses it."""
    image_id = str(container["Image"])
    if "@" in str(container["Config"]["Image"]):
        return  # it never had a tag; whoever plans knows it by its digest
    try:
        image = await client.call("GET", f"images/{image_id}/json")
        if entries(image, "RepoTags") or not entries(image, "RepoDigests"):
            return
        await client.call("DELETE", f"images/{image_id}")
    except Refused as exc:
        if exc.status != _GONE:
            log.info("image.left", image=image_id, reason=exc.message)
    else:
        log.info("image.removed", image=image_id, reason="its tag went to another one")


def _as_docker_takes_it(image: str) -> str:
    """Return the name without the tag that stands beside a digest: Docker knows such an image by its digest."""
    repository, version = split(image)
    return f"{repository}@{version}" if "@" in image else image
