"""The service's name in its networks goes from one container to another while both run.

    old  known as web   |  known as web        |  known by no name, still answers  |  ended
    new  known by none  |  known as web too    |  known as web                     |  known as web
         is not ready   |  both answer         |  for LINGER_S                     |

A name can only be given to a container by leaving the network and coming back, which takes some tens of
milliseconds. It keeps its address (our networks have a subnet that is written down, which Docker wants for
that), so that connections it has live on, and one that is just being made is made a second later.
"""

import asyncio

import structlog

from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import Json
from iotistic.agent.engines.docker.making import endpoint
from iotistic.agent.engines.docker.names import another_name
from iotistic.agent.engines.docker.reading import Inspected

log = structlog.get_logger()

LINGER_S = 1.3
"""A connection whose first packet was lost is tried again after a second."""


async def hand_over(client: DockerClient, old: Inspected, new: Inspected) -> None:
    """Give the work of one container to another one that runs; either may be gone meanwhile."""
    try:
        for network in new.wanted_networks:
            await be_known(client, new, network, new.service_name)
        for network in old.networks:
            await be_known(client, old, network, "")
        await swap_names(client, old, new)
    except Refused as exc:
        log.warning("handover.refused", container_id=old.container.id, reason=exc.message)
    if old.networks:
        await asyncio.sleep(LINGER_S)


async def swap_names(client: DockerClient, old: Inspected, new: Inspected) -> None:
    """Call the new container as the old one was called."""
    name = old.docker_name
    await rename(client, old, another_name(name))
    await rename(client, new, name)


async def rename(client: DockerClient, one: Inspected, name: str) -> None:
    """Call a container by another name."""
    await client.call("POST", f"containers/{one.container.id}/rename", query={"name": name})


async def be_known(client: DockerClient, one: Inspected, network: str, alias: str) -> None:
    """Make a container known by a name in a network, or by none; it is in the network afterwards, in any case."""
    place = one.networks.get(network)
    if place is not None and one.aliases(network) == [alias] * bool(alias):
        return
    coming_back = asyncio.ensure_future(_come_back(client, one.container.id, network, alias, place))
    try:
        await asyncio.shield(coming_back)
    except asyncio.CancelledError:
        # Whoever gives up here would leave a container without its network.
        await asyncio.wait({coming_back})
        if (failed := coming_back.exception()) is not None:
            log.warning("handover.cut_short", container_id=one.container.id, reason=str(failed))
        raise


async def _come_back(
    client: DockerClient, container_id: str, network: str, alias: str, place: Json | None
) -> None:
    path = f"networks/{network}"
    address = ""
    if place is not None:
        address = str(place.get("IPAddress") or "")
        await client.call("POST", f"{path}/disconnect", body={"Container": container_id, "Force": True})
    body = {"Container": container_id, "EndpointConfig": endpoint(alias, address)}
    try:
        await client.call("POST", f"{path}/connect", body=body)
    except Refused:
        if not address:
            raise
        # A network of an earlier agent, whose subnet is not written down.
        body["EndpointConfig"] = endpoint(alias)
        await client.call("POST", f"{path}/connect", body=body)
