"""Images: kubelets fetch them for pods, and for nothing else.

So a pod of its own fetches an image before anything that runs is touched. Its command is one that no image has:
the kubelet fetches the image, fails to start that, and by then the image is there. Its name comes from the image's,
so that an agent that died in between finds it again.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from iotistic.agent.engines.docker.pulling import Credentials, Keyring
from iotistic.agent.engines.errors import EngineUnavailable, ImageNotFound, ImageUnavailable
from iotistic.agent.engines.k3s import names
from iotistic.agent.engines.k3s.client import IN_THE_WAY, NOT_FOUND, KubeClient, Refused
from iotistic.agent.engines.k3s.making import registry_secret
from iotistic.agent.engines.k3s.reading import Pod
from iotistic.agent.engines.k3s.sight import Sight
from iotistic.agent.engines.k3s.template import Surroundings, on_node
from iotistic.agent.engines.port import Progress
from iotistic.planning.images import HUB, registry_of

log = structlog.get_logger()

NOT_PULLED = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
)
_HUB_LOGIN = "https://index.docker.io/v1/"
_NOT_SHOWN = (
    "not found",
    "manifest unknown",
    "unauthorized",
    "denied",
    "no basic auth",
    "does not exist",
    "authorization failed",
)
_NO_SUCH_COMMAND = "/.iotistic-fetch"
_LOOK_EVERY_S = 0.3
_DEADLINE_S = 3600
_FORBIDDEN, _ACCOUNT_TRIES = 403, 40
_UNPLACED_LOOKS = 60


class Puller:
    """Fetches images into one Kubernetes."""

    def __init__(self, client: KubeClient, sight: Sight, around: Surroundings, keyring: Keyring) -> None:
        self._client, self._sight, self._around = client, sight, around
        self._keyring = keyring

    async def pull(self, image: str, tell: Callable[[Progress], None]) -> None:
        """Fetch an image; kubelets say nothing of how far they are. Raises ImageNotFound and ImageUnavailable."""
        tell(Progress(0, 0))
        secret = await self.secret_for(image)
        body = _pod(image, self._around, secret)
        path = self._sight.path("pods", names.name_of(body))
        await self._make(body)
        try:
            await self._wait(image, path)
        finally:
            removing = asyncio.ensure_future(self._remove(path))
            await asyncio.shield(removing)

    async def secret_for(self, image: str) -> str:
        """Return the name of the Secret with the credentials for an image, after bringing it up to date."""
        host = registry_of(image)
        credentials = self._keyring(host)
        if credentials is None:
            return ""
        name = f"registry-{names.short_digest(host)}"
        await self._keep_secret(name, _HUB_LOGIN if host == HUB else host, credentials)
        return name

    async def _keep_secret(self, name: str, host: str, credentials: Credentials) -> None:
        body = registry_secret(name, host, credentials)
        try:
            await self._client.create(self._sight.path("secrets"), body)
        except Refused as exc:
            if exc.status != IN_THE_WAY:
                raise ImageUnavailable(f"the credentials for {host} are refused: {exc.message}") from exc
            await self._client.patch(self._sight.path("secrets", name), {"stringData": body["stringData"]})

    async def _make(self, body: Any) -> None:
        """Make the pod. A namespace that is new has no service account for a moment, and without it no pods."""
        for left in reversed(range(_ACCOUNT_TRIES)):
            try:
                await self._client.create(self._sight.path("pods"), body)
            except Refused as exc:
                if exc.status == IN_THE_WAY:
                    return
                if not left or exc.status != _FORBIDDEN or "serviceaccount" not in exc.message:
                    raise ImageUnavailable(f"no pod can be made to fetch an image: {exc.message}") from exc
                await asyncio.sleep(_LOOK_EVERY_S)
            else:
                return

    async def _wait(self, image: str, path: str) -> None:
        unplaced = 0
        while True:
            try:
                pod = Pod(await self._client.get(path))
            except Refused as exc:
                if exc.status == NOT_FOUND:
                    raise ImageUnavailable(f"the pod that was to fetch {image} is gone") from exc
                raise ImageUnavailable(f"{image}: {exc.message}") from exc
            if _is_pulled(image, pod):
                return
            unplaced = unplaced + 1 if pod.has_no_place else 0
            if unplaced > _UNPLACED_LOOKS:
                raise ImageUnavailable(f"{image} cannot be fetched: {pod.has_no_place}")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _remove(self, path: str) -> None:
        try:
            await self._client.delete(path, gracePeriodSeconds=0)
        except (Refused, EngineUnavailable) as exc:
            log.warning("fetch.left_behind", pod=path.rpartition("/")[2], reason=exc.message)


def meant(image: str, said: str) -> ImageNotFound | ImageUnavailable:
    """Return what a kubelet's words say about an image."""
    kind = ImageNotFound if any(part in said.lower() for part in _NOT_SHOWN) else ImageUnavailable
    return kind(f"{image}: {said}")


def _is_pulled(image: str, pod: Pod) -> bool:
    """Say whether the image is there. Raises ImageNotFound and ImageUnavailable."""
    reason, message = pod.waiting
    if reason == "InvalidImageName":
        raise ImageNotFound(f"{image}: {message or 'this is no name of an image'}")
    if reason in NOT_PULLED:
        raise meant(image, message or reason)
    if pod.has_ended or pod.running is not None or pod.ended:
        if pod.has_ended and not pod.container.get("imageID") and not pod.ended:
            raise ImageUnavailable(f"the pod that was to fetch {image} was ended before")
        return True
    return reason not in ("", "ContainerCreating", "PodInitializing")


def _pod(image: str, around: Surroundings, secret: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "containers": [
            {
                "name": "fetch",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": [_NO_SUCH_COMMAND],
            }
        ],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "activeDeadlineSeconds": _DEADLINE_S,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **on_node(around.node_name),
    }
    if secret:
        spec["imagePullSecrets"] = [{"name": secret}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"fetch-{names.short_digest(image)}",
            "labels": {names.MANAGED: "fetch"},
        },
        "spec": spec,
    }
