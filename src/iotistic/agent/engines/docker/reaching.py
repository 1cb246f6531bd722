"""How probes get at a container of Docker: the address that its ports have, and commands in it."""

from typing import Any

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import Json, part
from iotistic.agent.engines.docker.reading import all_networks
from iotistic.agent.engines.errors import ContainerNotFound, StepRefused
from iotistic.kernel.errors import Unavailable
from iotistic.planning.model import Container

_GONE, _NOT_RUNNING = 404, 409


class NoAddress(Unavailable):
    """The container has no address yet, or none that this device reaches."""

    code = "engine.no_address"


class DockerReach:
    """Gets at the containers of the Docker at a socket."""

    def __init__(self, client: DockerClient) -> None:
        self._client = client

    async def address(self, container: Container) -> str:
        """Return the container's address in one of its networks; our own when it has the device's.

        Raises ContainerNotFound, NoAddress and EngineUnavailable.
        """
        if container.config.network_mode == "host":
            return "127.0.0.1"
        document = await self._call("GET", f"containers/{container.id}/json")
        for place in all_networks(document).values():
            if address := str(place.get("IPAddress") or ""):
                return address
        raise NoAddress(f"{container.name} has no address")

    async def execute(self, container: Container, command: tuple[str, ...]) -> int:
        """Run a command in the container and return its exit code; its output is thrown away.

        Docker ends no command whose caller has gone: one that takes too long goes on until it ends by itself.
        Raises ContainerNotFound and EngineUnavailable.
        """
        asked = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
        made = await self._call("POST", f"containers/{container.id}/exec", body=asked)
        exec_id = str(made["Id"])
        begin = {"Detach": False, "Tty": False}
        async with self._client.open("POST", f"exec/{exec_id}/start", body=begin) as response:
            async for _ in response.content.iter_any():
                pass
        ended = await self._call("GET", f"exec/{exec_id}/json")
        code: object = part(ended).get("ExitCode")
        return code if isinstance(code, int) else 1

    async def _call(self, method: str, path: str, *, body: Any = None) -> Json:
        try:
            return await self._client.call(method, path, body=body)
        except Refused as exc:
            if exc.status in (_GONE, _NOT_RUNNING):
                raise ContainerNotFound(exc.message) from exc
            raise StepRefused(exc.message) from exc
