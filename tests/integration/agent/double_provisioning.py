"""The cloud's side of provisioning, keys and leave-taking, done truly: it opens envelopes, checks proofs, signs requests.

What a device cannot see is kept for tests: every device that was ever made, the uses of keys, who asked what.
"""

import gzip
import json
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import NameOID

from iotistic.contracts.provisioning import answers, certificates, envelope, fields, keys, requests, rotation

PROVISIONING_KEY = "a1" * 32
KEY_ID = "cloud-1"
GRACE_S, LIVES_S = 7 * 86_400.0, 90 * 86_400.0
CERTIFICATE_LIVES_S = 365 * 86_400.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class KnownDevice:
    """A device as the cloud has it."""

    device_id: str
    name: str
    public_key: keys.PublicKey
    api_keys: dict[str, float]
    """Each with when it ends."""
    registration: str
    mqtt_password: str
    proven: bool = False
    former_key: keys.PublicKey | None = None
    """The key before the last certificate: good for proofs until the device is seen with the new one."""


@dataclass
class Right:
    """A provisioning key."""

    max_uses: int = 1
    uses: int = 0


def refusal(status: int, error: str, message: str, **more: Any) -> web.Response:
    return web.json_response({"error": error, "message": message, **more}, status=status)


@dataclass
class ProvisioningDouble:
    """One cloud. `wrapping` is an RSA or X25519 private key; `clock` gives its time."""

    cloud_key: envelope.CloudPrivateKey = field(default_factory=x25519.X25519PrivateKey.generate)
    clock: Callable[[], float] = time.time
    rights: dict[str, Right] = field(default_factory=lambda: {PROVISIONING_KEY: Right()})
    device_limit: int = 3
    devices: dict[str, KnownDevice] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    retold: int = 0
    """Registrations that were answered once more."""
    instead: dict[str, list[Callable[[], web.Response]]] = field(default_factory=dict)
    """Answers by route that are given without anything being done."""
    lose: Counter[str] = field(default_factory=Counter)
    """How many answers of a route are lost although everything was done."""
    changing: Callable[[str, dict[str, Any]], dict[str, Any]] = lambda route, answer: answer
    endpoint: str = ""
    gives_challenge: bool = True
    certificate_lives_s: float = CERTIFICATE_LIVES_S
    live: dict[str, tuple[keys.Challenge, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ca = ec.generate_private_key(ec.SECP256R1())

    def add(self, app: web.Application) -> None:
        """Mount the routes."""
        base = "/api/v1"
        for method, path, route, handler in (
            ("POST", requests.KEY_EXCHANGE_V2, "cloud-key", self._cloud_key),
            ("POST", requests.REGISTER_V2, "register", self._register),
            ("POST", "/device/{uuid}/challenge", "challenge", self._challenge),
            ("POST", "/device/{uuid}/key-exchange", "key-exchange", self._key_exchange),
            ("DELETE", "/devices/{uuid}", "leave", self._leave),
            ("GET", "/device/{uuid}/key-status", "key-status", self._key_status),
            ("POST", "/device/{uuid}/rotate-key", "rotate-key", self._rotate),
            ("POST", "/device/{uuid}/certificate", "certificate", self._renew_certificate),
        ):
            app.router.add_route(method, base + path, self._through(route, handler))

    def _through(self, route: str, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.asked.append(route)
            self.bodies.append(await request.read())
            if self.instead.get(route):
                return self.instead[route].pop(0)()
            try:
                answer = await handler(request)
            except fields.ProvisioningInvalid as exc:
                return refusal(400, exc.code, exc.message)
            if self.lose[route] > 0:
                self.lose[route] -= 1
                request.transport.abort()
            return answer

        return handle

    async def _cloud_key(self, request: web.Request) -> web.Response:
        fields.parse_uuid((await _body(request))["uuid"])
        pem = self.cloud_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return self._say("cloud-key", answers.CloudKey(pem.decode(), KEY_ID).write())

    async def _register(self, request: web.Request) -> web.Response:
        document = await _body(request)
        if envelope.key_id_of(document) != KEY_ID:
            return refusal(400, "provisioning.key_id_unknown", "the cloud has another key now")
        asked = requests.read_register(envelope.open_envelope(document, self.cloud_key))
        registration = request.headers[requests.IDEMPOTENCY_HEADER]
        right = self.rights.get(asked.provisioning_key)
        if right is None:
            return refusal(401, "provisioning.key_unknown", "there is no such provisioning key")
        public, known = keys.read_csr(asked.csr), self.devices.get(asked.uuid)
        if known is not None and known.registration == registration and known.public_key == public:
            self.retold += 1
        elif known is not None:
            if (refused := self._refused_proof(asked, known)) is not None:
                return refused
            known.registration, known.public_key = registration, public
            known.api_keys = {asked.device_api_key: self.clock() + LIVES_S}
            known.mqtt_password = secrets.token_hex(8)
        elif len(self.devices) >= self.device_limit:
            return refusal(
                402, "plan.device_limit", "the plan has 3 devices", upgradeUrl="https://x.example/up"
            )
        elif right.uses >= right.max_uses:
            return refusal(401, "provisioning.key_used_up", "the provisioning key is used up")
        else:
            right.uses += 1
            self._make(asked, public, registration)
        return self._registered(asked)

    def _make(self, asked: requests.RegisterRequest, public: keys.PublicKey, registration: str) -> None:
        self.made.append(asked.uuid)
        self.devices[asked.uuid] = KnownDevice(
            str(len(self.made)),
            asked.device_name,
            public,
            {asked.device_api_key: self.clock() + LIVES_S},
            registration,
            secrets.token_hex(8),
        )

    def _refused_proof(self, asked: requests.RegisterRequest, known: KnownDevice) -> web.Response | None:
        live = self.live.get(asked.uuid)
        if asked.proof is None or live is None or live[0].text != asked.proof.challenge:
            return refusal(409, "provisioning.device_exists", "the device is registered already")
        del self.live[asked.uuid]
        problem = _problem_of_proof(known, asked.uuid, asked.proof)
        return None if problem is None else refusal(409, problem.code, problem.message)

    def _registered(self, asked: requests.RegisterRequest) -> web.Response:
        device = self.devices[asked.uuid]
        challenge = self._fresh(asked.uuid, device.registration) if self.gives_challenge else None
        answer = answers.RegisterAnswer(
            device_id=device.device_id,
            uuid=asked.uuid,
            device_name=asked.device_name,
            mqtt=answers.MqttAccess(
                "mqtts://broker.example:8883",
                f"device_{asked.uuid}",
                device.mqtt_password,
                {"protocol": "mqtts", "host": "broker.example", "port": 8883, "verifyCertificate": True},
            ),
            api_endpoint=self.endpoint,
            certificate=self.certificate(device.public_key, asked.uuid),
            challenge=challenge,
        )
        return self._say("register", answer.write())

    def _fresh(self, uuid: str, registration: str) -> keys.Challenge:
        live = self.live.get(uuid)
        if live is None or live[0].expires_at <= self.clock():
            live = self.live[uuid] = (keys.make_challenge(self.clock()), registration)
        return live[0]

    async def _challenge(self, request: web.Request) -> web.Response:
        uuid = fields.parse_uuid(request.match_info["uuid"])
        if uuid not in self.devices:
            return refusal(404, "device.unknown", "there is no such device")
        live, asking = self.live.get(uuid), request.headers.get(requests.IDEMPOTENCY_HEADER, "")
        if live is not None and live[0].expires_at > self.clock() and live[1] != asking:
            return refusal(409, "provisioning.challenge_live", "a challenge is waiting to be signed")
        return self._say("challenge", answers.write_challenge(self._fresh(uuid, asking)))

    async def _key_exchange(self, request: web.Request) -> web.Response:
        uuid = request.match_info["uuid"]
        asked = requests.read_key_exchange(
            await _body(request), request.headers.get(requests.AGENT_KEY_HEADER, "")
        )
        device, live = self.devices.get(uuid), self.live.pop(uuid, None)
        if device is None:
            return refusal(404, "device.unknown", "there is no such device")
        if asked.device_api_key not in device.api_keys:
            return refusal(401, "device.key_unknown", "the device key is wrong")
        if live is None or live[0].expires_at <= self.clock():
            return refusal(401, "provisioning.no_challenge", "nothing is waiting to be signed")
        problem = _problem_of_proof(device, uuid, keys.Proof(live[0].text, asked.signature))
        if problem is not None:
            return refusal(401, problem.code, problem.message)
        device.proven = True
        return self._say("key-exchange", {"status": "ok", "device": {"id": device.device_id, "uuid": uuid}})

    async def _leave(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        del self.devices[request.match_info["uuid"]]
        return web.json_response({"status": "ok"})

    async def _key_status(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        until = self._device(request).api_keys[_key(request)]
        return self._say("key-status", {"data": {"expires_at": fields.write_time(until)}})

    async def _rotate(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        device, now = self._device(request), self.clock()
        device.api_keys = {key: min(until, now + GRACE_S) for key, until in device.api_keys.items()}
        new = secrets.token_hex(32)
        device.api_keys[new] = now + LIVES_S
        answer = rotation.RotatedKey(new, now + LIVES_S, device.api_keys[_key(request)])
        return self._say("rotate-key", answer.write())

    async def _renew_certificate(self, request: web.Request) -> web.Response:
        if (refused := self._refused(request)) is not None:
            return refused
        device = self._device(request)
        public = keys.read_csr(certificates.read_certificate_request(await _body(request)))
        if public != device.public_key:
            device.former_key, device.public_key = device.public_key, public
        answer = certificates.NextCertificate(self.certificate(public, request.match_info["uuid"]))
        return self._say("certificate", answer.write())

    def _refused(self, request: web.Request) -> web.Response | None:
        uuid = request.match_info["uuid"]
        if uuid not in self.devices:
            return refusal(404, "device.unknown", "there is no such device")
        if self._device(request).api_keys.get(_key(request), 0.0) <= self.clock():
            return refusal(401, "device.key_unknown", "the device key is wrong")
        return None

    def _device(self, request: web.Request) -> KnownDevice:
        return self.devices[request.match_info["uuid"]]

    def _say(self, route: str, answer: dict[str, Any]) -> web.Response:
        return web.json_response(self.changing(route, answer))

    def certificate(self, key: keys.PublicKey, uuid: str) -> str:
        """Return a certificate whose life begins now."""
        now = datetime.fromtimestamp(int(self.clock()), UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(uuid))
            .issuer_name(_name("throw-away CA"))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(seconds=self.certificate_lives_s))
            .sign(self._ca, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _problem_of_proof(device: KnownDevice, uuid: str, proof: keys.Proof) -> keys.ProofInvalid | None:
    """Return why neither the device's key nor the one before it made the proof."""
    problem = None
    for key in filter(None, (device.public_key, device.former_key)):
        try:
            keys.check_proof(key, uuid, proof)
        except keys.ProofInvalid as exc:
            problem = exc
        else:
            return None
    return problem


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key(request: web.Request) -> str:
    return request.headers.get("X-Device-API-Key", "")


async def _body(request: web.Request) -> Any:
    body = await request.read()
    return json.loads(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
