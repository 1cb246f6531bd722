"""Networks of apps, with a subnet that is written down: only in such a one can a container keep its address.

Which subnet is free Docker says by making a network on trial, which is removed again. One that an agent left
behind when it died is known by its label and goes before the next trial; otherwise they would use the subnets
up, of which Docker has about thirty.
"""

import json
import secrets
from typing import Any

from iotistic.agent.engines.docker import names
from iotistic.agent.engines.docker.client import DockerClient, Refused
from iotistic.agent.engines.docker.documents import entries, part
from iotistic.planning.model import Named

_TRIAL = "iotistic.trial"
_OURS = secrets.token_hex(8)


async def make(client: DockerClient, network: Named, scope: str = "") -> None:
    """Make a network. Raises Refused."""
    name = names.full_name(network)
    await _clear_trials(client)
    body: dict[str, Any] = {"Name": name, "CheckDuplicate": True, "Labels": names.labels_of(network, scope)}
    await client.call("POST", "networks/create", body=body | await _free_subnet(client, name))


async def _free_subnet(client: DockerClient, name: str) -> dict[str, Any]:
    """Let Docker choose a subnet, under a name that nobody is waiting for."""
    trial = names.another_name(name)
    await client.call("POST", "networks/create", body={"Name": trial, "Labels": {_TRIAL: _OURS}})
    found = await client.call("GET", f"networks/{trial}")
    await client.call("DELETE", f"networks/{trial}")
    pools = [pool for pool in entries(part(found, "IPAM"), "Config") if "." in pool.get("Subnet", "")]
    return {"IPAM": {"Config": pools}} if pools else {}


async def _clear_trials(client: DockerClient) -> None:
    """Remove trials of other agents than this process: there is one agent on a device, so they are dead."""
    left = await client.call("GET", "networks", query={"filters": json.dumps({"label": [_TRIAL]})})
    for network in left:
        if part(network, "Labels").get(_TRIAL) != _OURS:
            try:
                await client.call("DELETE", f"networks/{network['Id']}")
            except Refused as exc:
                if exc.status != 404:  # noqa: PLR2004  gone is fine
                    raise
