"""What a person can do to Kubernetes behind the agent's back, with kubectl or otherwise."""

import asyncio
import contextlib

from engine_hands import Hands

from iotistic.agent.engines.k3s.client import KubeClient

HOME = "namespaces/iotistic"


class K3sHands(Hands):
    def __init__(self, engine, client: KubeClient):
        self.engine, self.client = engine, client

    async def workload(self, container_id):
        """Return the path and document of a Deployment or Job."""
        for path in (f"apis/apps/v1/{HOME}/deployments", f"apis/batch/v1/{HOME}/jobs"):
            for found in (await self.client.get(path))["items"]:
                if found["metadata"]["name"] == container_id:
                    return f"{path}/{container_id}", found
        raise LookupError(container_id)

    async def until(self, is_so):
        """Wait until something that is asked for is true."""
        async with asyncio.timeout(20):
            while not await is_so():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def stop(self, container_id):
        path, _ = await self.workload(container_id)
        spec = {"suspend": True} if "jobs" in path else {"replicas": 0}
        await self.client.patch(path, {"spec": spec})

    async def remove(self, container_id):
        path, _ = await self.workload(container_id)
        await self.client.delete(path, propagationPolicy="Background")

    async def make_foreign(self):
        """Put things of others beside ours."""
        container = {"name": "theirs", "image": "db:1"}
        spec = {
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {"metadata": {"labels": {"app": "theirs"}}, "spec": {"containers": [container]}},
        }
        with contextlib.suppress(Exception):
            await self.client.create("api/v1/namespaces", {"metadata": {"name": "iotistic"}})
        await self.client.create(
            f"apis/apps/v1/{HOME}/deployments", {"metadata": {"name": "theirs"}, "spec": spec}
        )
        await self.client.create(f"api/v1/{HOME}/configmaps", {"metadata": {"name": "theirs"}})
