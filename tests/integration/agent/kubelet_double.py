"""A kubelet without containers: tells of pods what a real one would, over the API, real or not.

It knows the images of the contract's tests: crash:1 ends with 3, broken:1 does not begin, talk:1 prints. A registry
wants a password. Images that nobody has are waited for in vain.
"""

import asyncio
import base64
import contextlib
import json
import ssl
import subprocess
import tempfile
import time
from datetime import UTC, datetime

from aiohttp import web
from benchmarks.docker_server import PASSWORD, REGISTRY, USERNAME

from iotistic.agent.engines.errors import EngineUnavailable
from iotistic.agent.engines.k3s.client import Refused

NODE = "device"
LOCAL = ("web:1", "web:2", "db:1", "crash:1", "broken:1", "talk:1")
IN_REGISTRY = (f"{REGISTRY}/team/app:1",)
TALK = ((0.0, "héllo"), (0.0, "one 1"), (0.3, "oh no"), (0.6, "two"))
_NEVER_BEGINS = "exec: no such file or directory: unknown"


def stamp(at):
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"


def seconds(at):
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


class KubeletDouble:
    """The one node."""

    def __init__(self, client, *, look_every_s=0.03):
        self.client, self.look_every_s = client, look_every_s
        self.images = set(LOCAL)
        self.tasks = {}
        self.leaving = {}
        self.printed = {}
        self.running = set()
        self.ends_within_s = 0.05
        self.port = 0

    async def run(self):
        """Be the node until cancelled."""
        await self._register()
        try:
            while True:
                with contextlib.suppress(Refused, EngineUnavailable):
                    await self._look()
                await asyncio.sleep(self.look_every_s)
        finally:
            for task in (*self.tasks.values(), *self.leaving.values()):
                task.cancel()
            await asyncio.gather(*self.tasks.values(), *self.leaving.values(), return_exceptions=True)

    async def _register(self):
        labels = {"kubernetes.io/hostname": NODE}
        with contextlib.suppress(Refused):
            await self.client.create(
                "api/v1/nodes",
                {"kind": "Node", "apiVersion": "v1", "metadata": {"name": NODE, "labels": labels}},
            )
        await self._tell_images()

    async def _tell_images(self):
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        status = {
            "images": [
                {"names": [image if "/" in image else f"docker.io/library/{image}"]}
                for image in sorted(self.images)
            ],
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self.port}},
        }
        await self.client.patch(f"api/v1/nodes/{NODE}/status", {"status": status})

    async def provide_volumes(self):
        """Be K3s' local-path provisioner until cancelled."""
        body = {"metadata": {"name": "local-path"}, "provisioner": "rancher.io/local-path"}
        with contextlib.suppress(Refused):
            await self.client.create(
                "apis/storage.k8s.io/v1/storageclasses", body | {"volumeBindingMode": "WaitForFirstConsumer"}
            )
        while True:
            await asyncio.sleep(self.look_every_s)
            with contextlib.suppress(Refused, EngineUnavailable):
                claims = await self.client.get("api/v1/namespaces/iotistic/persistentvolumeclaims")
                for claim in claims["items"]:
                    if "volumeName" not in claim["spec"]:
                        await self._provide(claim["metadata"])

    async def _provide(self, claim):
        reference = {
            "kind": "PersistentVolumeClaim",
            "namespace": "iotistic",
            "name": claim["name"],
            "uid": claim["uid"],
        }
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local-path",
            "hostPath": {"path": "/tmp/none"},
            "claimRef": reference,
        }
        with contextlib.suppress(Refused):
            await self.client.create(
                "api/v1/persistentvolumes", {"metadata": {"name": f"pv-{claim['uid']}"}, "spec": spec}
            )

    async def _look(self):
        answer = await self.client.get("api/v1/namespaces/iotistic/pods")
        there = set()
        for pod in answer["items"]:
            uid = pod["metadata"]["uid"]
            there.add(uid)
            if pod["spec"].get("nodeName") != NODE:
                continue
            if "deletionTimestamp" in pod["metadata"]:
                if uid not in self.leaving:
                    self.leaving[uid] = asyncio.create_task(self._end(pod))
            elif uid not in self.tasks:
                self.tasks[uid] = asyncio.create_task(self._live(pod))
        for uid in [uid for uid in self.tasks if uid not in there]:
            self.tasks.pop(uid).cancel()
            self.leaving.pop(uid, None)
            self.running.discard(uid)

    async def _live(self, pod):
        with contextlib.suppress(Refused):
            await self._begin(pod)

    async def _begin(self, pod):
        container = pod["spec"]["containers"][0]
        image, policy = container["image"], pod["spec"].get("restartPolicy", "Always")
        await self._say(pod, "Pending", {"waiting": {"reason": "ContainerCreating"}})
        if not await self._pull(pod, image):
            return
        if container.get("command") == ["/.iotistic-fetch"]:
            ended = {"exitCode": 128, "reason": "StartError", "message": _NEVER_BEGINS}
            await self._say(pod, "Failed", {"terminated": ended}, imageID=image)
        elif image == "broken:1":
            said = {"reason": "RunContainerError", "message": _NEVER_BEGINS}
            await self._say(pod, "Pending", {"waiting": said}, imageID=image)
        else:
            await self._run(pod, image, policy)

    async def _run(self, pod, image, policy):
        uid, restarts, last = pod["metadata"]["uid"], 0, {}
        while True:
            began = time.time()
            running = {"running": {"startedAt": seconds(began)}}
            if image == "talk:1":
                self.printed[uid] = [(began + after, text) for after, text in TALK]
            self.running.add(uid)
            more = {
                "restartCount": restarts,
                "lastState": last,
                "ready": True,
                "started": True,
                "imageID": image,
            }
            await self._say(pod, "Running", running, **more)
            if image != "crash:1":
                return
            await asyncio.sleep(0.2)
            ended = {
                "terminated": {
                    "exitCode": 3,
                    "reason": "Error",
                    "startedAt": seconds(began),
                    "finishedAt": seconds(time.time()),
                }
            }
            if policy == "Never":
                await self._say(pod, "Failed", ended, restartCount=restarts, imageID=image)
                return
            restarts, last = restarts + 1, ended
            waiting = {
                "waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}
            }
            await self._say(pod, "Running", waiting, restartCount=restarts, lastState=last, imageID=image)
            await asyncio.sleep(0.2)

    async def _pull(self, pod, image):
        if image in self.images:
            return True
        if image in IN_REGISTRY and await self._may_pull(pod):
            self.images.add(image)
            await self._tell_images()
            return True
        said = {"reason": "ErrImagePull", "message": f'failed to resolve reference "{image}": not found'}
        await self._say(pod, "Pending", {"waiting": said})
        return False

    async def _may_pull(self, pod):
        for named in pod["spec"].get("imagePullSecrets", []):
            secret = await self.client.get(f"api/v1/namespaces/iotistic/secrets/{named['name']}")
            config = secret.get("stringData", {}).get(".dockerconfigjson") or base64.b64decode(
                secret["data"][".dockerconfigjson"]
            )
            login = json.loads(config)["auths"][REGISTRY]
            if (login["username"], login["password"]) == (USERNAME, PASSWORD):
                return True
        return False

    async def _end(self, pod):
        """End a pod's processes, which takes a moment, and let it go."""
        uid, path = pod["metadata"]["uid"], f"api/v1/namespaces/iotistic/pods/{pod['metadata']['name']}"
        await asyncio.sleep(self.ends_within_s)
        with contextlib.suppress(Refused, EngineUnavailable):
            if uid in self.running:
                ended = {
                    "terminated": {"exitCode": 143, "reason": "Error", "startedAt": seconds(time.time())}
                }
                await self._say(pod, "Failed", ended)
            self.running.discard(uid)
            await self.client.delete(path, gracePeriodSeconds=0)

    async def _say(self, pod, phase, state, **more):
        container = pod["spec"]["containers"][0]
        states = {kind: state.get(kind) for kind in ("waiting", "running", "terminated")}
        status = {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "restartCount": 0,
            "ready": False,
            "state": {kind: value for kind, value in states.items() if value},
            **more,
        }
        name = pod["metadata"]["name"]
        is_ready = "True" if status["ready"] else "False"
        body = {
            "phase": phase,
            "containerStatuses": [status],
            "conditions": [{"type": "Ready", "status": is_ready}, {"type": "PodScheduled", "status": "True"}],
        }
        await self.client.patch(f"api/v1/namespaces/iotistic/pods/{name}/status", {"status": body})

    async def logs(self, pod, query):
        """Yield what a pod printed, as the API server passes it on."""
        uid, at = pod["metadata"]["uid"], 0
        since = datetime.fromisoformat(query["sinceTime"]).timestamp() if "sinceTime" in query else 0.0
        while True:
            lines = self.printed.get(uid, [])
            while at < len(lines) and lines[at][0] <= time.time():
                if lines[at][0] >= since:
                    yield f"{stamp(lines[at][0])} {lines[at][1]}\n".encode()
                at += 1
            if query.get("follow") != "true" or uid not in self.running:
                return
            await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def serving(self):
        """Serve logs to a real API server, which asks kubelets for them."""
        app = web.Application()
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._serve_logs)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        with tempfile.TemporaryDirectory() as folder:
            site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=own_certificate(folder))
            await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()

    async def _serve_logs(self, request):
        name = request.match_info["pod"]
        pod = await self.client.get(f"api/v1/namespaces/iotistic/pods/{name}")
        response = web.StreamResponse()
        await response.prepare(request)
        async for line in self.logs(pod, request.query):
            await response.write(line)
        return response


def own_certificate(folder):
    key, certificate = f"{folder}/key.pem", f"{folder}/cert.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=device -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context
