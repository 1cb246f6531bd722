"""A small Kubernetes API server: objects, versions, watches, and the controllers that make pods.

It is strict where an engine could go wrong: names, missing namespaces, conflicts, what cannot be changed, versions
that are too old, pods that end slowly. The same tests run against a real API server (see docs/agent/k3s.md).
"""

import asyncio
import copy
import itertools
import json
import re
import secrets
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_LABEL_NAME = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DOMAINS = ("persistentvolumeclaims", "configmaps")
TOKEN = "of-the-test"


class Fault(Exception):  # noqa: N818  what a server says
    def __init__(self, status, message):
        super().__init__(message)
        self.status, self.message = status, message


def now():
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def merge(old, new):
    """Return a JSON merge patch applied (RFC 7396)."""
    if not isinstance(new, dict):
        return new
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in new.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged


def without_nulls(value):
    return (
        {k: without_nulls(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value
    )


def selected(document, selector):
    labels = document["metadata"].get("labels", {})
    pairs = (term.split("=") for term in selector.split(",") if term)
    return all(labels.get(name) == value for name, value in pairs)


class KubeDouble:
    """One cluster with one node."""

    def __init__(self):
        self.objects = {}
        self.history = []
        self.oldest = 0
        self.versions = itertools.count(100)
        self.changed = asyncio.Condition()
        self.watches_end = asyncio.Event()
        self.bookmark_every_s = 60.0
        self.refusals = []
        self.read_logs = None
        self.version = next(self.versions)
        self.put("namespaces", "", {"metadata": {"name": "default"}})

    # ---- objects

    def put(self, collection, namespace, document):
        document = without_nulls(copy.deepcopy(document))
        metadata = document["metadata"]
        key = (collection, namespace, metadata["name"])
        self.check(collection, document, self.objects.get(key))
        kind = "MODIFIED" if key in self.objects else "ADDED"
        self.version = next(self.versions)
        metadata |= {"resourceVersion": str(self.version)}
        metadata.setdefault("uid", secrets.token_hex(8))
        metadata.setdefault("creationTimestamp", now())
        metadata.setdefault("namespace", namespace)
        self.objects[key] = document
        self.history.append((self.version, kind, key, copy.deepcopy(document)))
        return document

    def drop(self, key):
        document = self.objects.pop(key, None)
        if document is not None:
            self.version = next(self.versions)
            document["metadata"]["resourceVersion"] = str(self.version)
            self.history.append((self.version, "DELETED", key, document))

    def check(self, collection, document, before):
        name = document["metadata"]["name"]
        if not _NAME.fullmatch(name) or (collection not in _DOMAINS and "." in name):
            raise Fault(
                422, f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 label must consist of'
            )
        template = document.get("spec", {}).get("template", {})
        for one in (document, template):
            for label, value in one.get("metadata", {}).get("labels", {}).items():
                if not _LABEL_NAME.fullmatch(label) or not _VALUE.fullmatch(value):
                    raise Fault(422, f"metadata.labels: Invalid value: {label}={value}")
        if before is not None and collection == "jobs" and before["spec"]["template"] != template:
            raise Fault(422, "spec.template: Invalid value: field is immutable")
        for volume in template.get("spec", {}).get("volumes", []):
            if "/.." in volume.get("hostPath", {}).get("path", ""):
                raise Fault(422, "must not contain '..'")
        for container in template.get("spec", {}).get("containers", []):
            limits = container.get("resources", {}).get("limits", {})
            requests = container.get("resources", {}).get("requests", {})
            if _bytes(requests.get("memory", "0")) > _bytes(limits.get("memory", str(1 << 62))):
                raise Fault(422, "requests.memory: Invalid value: must be less than or equal to memory limit")

    def listed(self, collection, namespace, selector=""):
        return [
            document
            for (kind, where, _), document in sorted(self.objects.items())
            if kind == collection and (not namespace or where == namespace) and selected(document, selector)
        ]

    def compact(self):
        """Forget what happened: versions of before are too old."""
        self.oldest = self.version

    # ---- controllers

    def control(self):
        """Do what controllers and the scheduler do, until nothing is left to be done."""
        while self._control_once():
            pass

    def _control_once(self):
        before = self.version
        for (collection, namespace, name), one in list(self.objects.items()):
            if collection == "deployments":
                wanted = one["spec"].get("replicas", 1)
                self._pods_of(one, namespace, wanted, "Always")
            elif collection == "jobs":
                self._job(one, namespace)
            elif collection == "pods":
                self._schedule(one)
            del name
        owners = {one["metadata"]["uid"] for one in self.objects.values()}
        for key, one in list(self.objects.items()):
            owner = one["metadata"].get("ownerReferences")
            if owner and owner[0]["uid"] not in owners:
                self.end_pod(key)
        return self.version != before

    def _pods_of(self, owner, namespace, wanted, policy):
        uid = owner["metadata"]["uid"]
        template = owner["spec"]["template"]
        mark = str(hash(json.dumps(template, sort_keys=True)) & 0xFFFFFFFF)
        mine = [
            one
            for one in self.listed("pods", namespace)
            if one["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid
            and "deletionTimestamp" not in one["metadata"]
        ]
        fresh = [one for one in mine if one["metadata"]["labels"]["pod-template-hash"] == mark]
        fresh_alive = [
            one for one in fresh if one.get("status", {}).get("phase") not in ("Failed", "Succeeded")
        ]
        if wanted and not fresh_alive and policy == "Always":
            self._make_pod(owner, namespace, template, mark)
        if wanted and not mine and policy != "Always":
            self._make_pod(owner, namespace, template, mark)
        is_ready = any(one.get("status", {}).get("containerStatuses", [{}])[0].get("ready") for one in fresh)
        for one in mine:
            if not wanted or (one not in fresh and is_ready and policy == "Always"):
                self.end_pod(("pods", namespace, one["metadata"]["name"]))

    def _job(self, job, namespace):
        if job.get("status", {}).get("conditions"):
            return
        held = job["spec"].get("suspend", False)
        policy = job["spec"]["template"]["spec"]["restartPolicy"]
        self._pods_of(job, namespace, 0 if held else 1, policy)
        if held:
            return
        uid = job["metadata"]["uid"]
        for pod in self.listed("pods", namespace):
            phase = pod.get("status", {}).get("phase")
            if pod["metadata"].get("ownerReferences", [{}])[0].get("uid") == uid and phase in (
                "Failed",
                "Succeeded",
            ):
                kind = "Complete" if phase == "Succeeded" else "Failed"
                job = copy.deepcopy(job)
                job["status"] = {"conditions": [{"type": kind, "status": "True"}]}
                self.put("jobs", namespace, job)

    def _make_pod(self, owner, namespace, template, mark):
        metadata = copy.deepcopy(template["metadata"])
        metadata["labels"]["pod-template-hash"] = mark
        metadata["name"] = f"{owner['metadata']['name']}-{secrets.token_hex(3)}"
        metadata["ownerReferences"] = [{"uid": owner["metadata"]["uid"]}]
        spec = copy.deepcopy(template["spec"])
        self.put("pods", namespace, {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})

    def _schedule(self, pod):
        if pod["spec"].get("nodeName"):
            return
        taken = {
            port
            for other in self.listed("pods", "")
            if other["spec"].get("nodeName")
            for port in _ports(other)
        }
        pod = copy.deepcopy(pod)
        if taken & _ports(pod):
            said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
            said["message"] = "0/1 nodes are available: 1 node(s) didn't have free ports"
            if pod["status"].get("conditions") != [said]:
                pod["status"]["conditions"] = [said]
                self.put("pods", pod["metadata"]["namespace"], pod)
            return
        pod["spec"]["nodeName"] = "device"
        pod["status"].pop("conditions", None)
        self.put("pods", pod["metadata"]["namespace"], pod)

    def end_pod(self, key, grace_s=None):
        """Tell a pod to end; its kubelet removes it."""
        pod = copy.deepcopy(self.objects[key])
        if not pod["spec"].get("nodeName") or grace_s == 0:
            self.drop(key)
        elif "deletionTimestamp" not in pod["metadata"]:
            pod["metadata"]["deletionTimestamp"] = now()
            self.put("pods", key[1], pod)

    # ---- HTTP

    @asynccontextmanager
    async def serving(self):
        """Serve on a free port; yields the address."""
        app = web.Application(middlewares=[self._guarded])
        for root in ("/api/v1", "/apis/apps/v1", "/apis/batch/v1"):
            for at in ("", "/namespaces/{namespace}"):
                app.router.add_route("GET", f"{root}{at}/{{collection}}", self._list)
                app.router.add_route("POST", f"{root}{at}/{{collection}}", self._create)
                app.router.add_route("DELETE", f"{root}{at}/{{collection}}", self._delete_all)
                for method, answer in (("GET", self._get), ("PATCH", self._patch), ("DELETE", self._delete)):
                    app.router.add_route(method, f"{root}{at}/{{collection}}/{{name}}", answer)
                app.router.add_route("PATCH", f"{root}{at}/{{collection}}/{{name}}/status", self._patch)
                app.router.add_route("GET", f"{root}{at}/{{collection}}/{{name}}/log", self._log)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            self.watches_end.set()
            async with self.changed:
                self.changed.notify_all()
            await runner.cleanup()

    @web.middleware
    async def _guarded(self, request, handler):
        try:
            self._guard(request)
            answer = await handler(request)
        except Fault as fault:
            body = {"kind": "Status", "code": fault.status, "message": fault.message}
            return web.json_response(body, status=fault.status)
        if request.method != "GET":
            self.control()
            async with self.changed:
                self.changed.notify_all()
        return answer

    def _guard(self, request):
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Fault(401, "Unauthorized")
        if self.refusals:
            raise Fault(*self.refusals.pop(0))

    def _key(self, request):
        found = request.match_info
        key = (found["collection"], found.get("namespace", ""), found["name"])
        if key not in self.objects:
            raise Fault(404, f'{key[0]} "{key[2]}" not found')
        return key

    async def _get(self, request):
        return web.json_response(self.objects[self._key(request)])

    async def _list(self, request):
        found = request.match_info
        collection, namespace = found["collection"], found.get("namespace", "")
        selector = request.query.get("labelSelector", "")
        if request.query.get("watch") == "true":
            return await self._watch(request, collection, namespace, selector)
        items = self.listed(collection, namespace, selector)
        return web.json_response({"metadata": {"resourceVersion": str(self.version)}, "items": items})

    async def _create(self, request):
        found = request.match_info
        collection, namespace = found["collection"], found.get("namespace", "")
        if namespace and ("namespaces", "", namespace) not in self.objects:
            raise Fault(404, f'namespaces "{namespace}" not found')
        document = await request.json()
        name = document["metadata"]["name"]
        if (collection, namespace, name) in self.objects:
            raise Fault(409, f'{collection} "{name}" already exists')
        if collection == "pods":
            document["status"] = {"phase": "Pending"}
        return web.json_response(self.put(collection, namespace, document), status=201)

    async def _patch(self, request):
        if request.content_type != "application/merge-patch+json":
            raise Fault(415, "the body of the request was in an unknown format")
        key = self._key(request)
        merged = merge(self.objects[key], await request.json())
        return web.json_response(self.put(key[0], key[1], merged))

    async def _delete(self, request):
        key = self._key(request)
        options = await request.json() if request.can_read_body else {}
        if key[0] == "pods":
            self.end_pod(key, options.get("gracePeriodSeconds"))
        else:
            self.drop(key)
        return web.json_response({"kind": "Status", "status": "Success"})

    async def _delete_all(self, request):
        found = request.match_info
        for one in self.listed(
            found["collection"], found["namespace"], request.query.get("labelSelector", "")
        ):
            key = (found["collection"], found["namespace"], one["metadata"]["name"])
            self.end_pod(key) if key[0] == "pods" else self.drop(key)
        return web.json_response({"kind": "List", "items": []})

    async def _log(self, request):
        key = self._key(request)
        response = web.StreamResponse()
        lines = self.read_logs(self.objects[key], request.query)
        await response.prepare(request)
        async for line in lines:
            await response.write(line)
        return response

    async def _watch(self, request, collection, namespace, selector):
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self.oldest:
            await _say(
                response, "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"}
            )
            return response
        ends_at = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", "3600"))
        while not self.watches_end.is_set() and asyncio.get_running_loop().time() < ends_at:
            for version, kind, key, document in [entry for entry in self.history if entry[0] > since]:
                since = version
                if (
                    key[0] == collection
                    and (not namespace or key[1] == namespace)
                    and selected(document, selector)
                ):
                    await _say(response, kind, document)
            with_bookmark = min(self.bookmark_every_s, max(ends_at - asyncio.get_running_loop().time(), 0.01))
            if self.version == since or not self._news(since):
                try:
                    async with asyncio.timeout(with_bookmark), self.changed:
                        await self.changed.wait()
                except TimeoutError:
                    if self._news(since):
                        continue
                    since = max(since, self.version)
                    await _say(response, "BOOKMARK", {"metadata": {"resourceVersion": str(since)}})
        return response

    def _news(self, since):
        return any(entry[0] > since for entry in self.history)


async def _say(response, kind, document):
    await response.write(json.dumps({"type": kind, "object": document}).encode() + b"\n")


def _bytes(amount):
    return int(amount.removesuffix("Mi")) << (20 if amount.endswith("Mi") else 0)


def _ports(pod):
    return {
        (port["hostPort"], port.get("protocol", "TCP"))
        for container in pod["spec"]["containers"]
        for port in container.get("ports", [])
        if "hostPort" in port
    }
