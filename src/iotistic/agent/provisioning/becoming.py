"""One try at becoming known, from wherever the last one ended.

    registering      keys and the name of the registration are on the disk      key-exchange, register
    registered       the cloud's answer is on the disk                          challenge
    key-exchanging   something to sign is on the disk                           key-exchange
    provisioned      the provisioning key is gone from the disk

Each step is on the disk before the next request, so that a process that is killed anywhere goes on with what
the cloud knows already: the same keys, the same registration, one device.
"""

import secrets
import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import structlog

from iotistic.agent.link.errors import CloudUnavailable, CloudUnintelligible
from iotistic.agent.link.transport import CloudAddress, CloudTransport
from iotistic.agent.provisioning.door import DeviceGone, Door, ProofRefused
from iotistic.agent.provisioning.errors import REFUSALS, DeviceTaken
from iotistic.agent.provisioning.keeping import Progress, ProgressStore
from iotistic.agent.provisioning.model import DeviceFacts, ProvisioningState, address_of, base_url
from iotistic.agent.store.device import DeviceStore, Identity
from iotistic.contracts.provisioning.answers import RegisterAnswer
from iotistic.contracts.provisioning.fields import ProvisioningInvalid
from iotistic.contracts.provisioning.keys import is_for, make_csr, make_key, prove
from iotistic.contracts.provisioning.requests import KeyExchangeRequest, RegisterRequest

log = structlog.get_logger()

_CA = "caCert"


class Becoming:
    """`progress` and `identity` are moved on with the disk; `connect` makes a way to an address."""

    def __init__(
        self,
        device: DeviceStore,
        progress_store: ProgressStore,
        progress: Progress,
        identity: Identity,
        *,
        facts: DeviceFacts,
        connect: Callable[[CloudAddress], CloudTransport],
        clock: Callable[[], float],
    ) -> None:
        self._device, self._store = device, progress_store
        self.progress, self.identity = progress, identity
        self._facts, self._connect, self._clock = facts, connect, clock

    async def go_on(self) -> None:
        """Return once the device is provisioned.

        Raises the refusals of this room, the link's errors and StoreUnavailable.
        """
        await self._make_keys()
        if not self.progress.is_under_way:
            await self._move(self.progress.begun())
        if self.progress.state is ProvisioningState.REGISTERING:
            await self._register()
        await self._exchange()

    async def _make_keys(self) -> None:
        """Make the keys that are not there: they are on the disk before anybody hears of them."""
        if not (self.identity.private_key and self.identity.device_api_key):
            await self._change(
                private_key=self.identity.private_key or make_key(),
                device_api_key=self.identity.device_api_key or secrets.token_urlsafe(32),
            )

    async def _register(self) -> None:
        transport = self._connect(address_of(self.identity))
        try:
            answer = await self._registered(Door(transport, self.identity.uuid), self.identity)
        finally:
            await transport.close()
        await self._change(**_learnt(self.identity, self._facts, answer))
        offered = _offered(self.identity, answer)
        challenge = "" if answer.challenge is None else answer.challenge.text
        state = ProvisioningState.KEY_EXCHANGING if challenge else ProvisioningState.REGISTERED
        await self._move(
            self.progress.at(
                state, challenge=challenge, offered_endpoint=offered.url, offered_ca=offered.ca_pem
            )
        )
        log.info("device.registered", device_uuid=self.identity.uuid, device_id=self.identity.device_id)

    async def _registered(self, door: Door, identity: Identity) -> RegisterAnswer:
        request, name = self._request(identity), self.progress.idempotency_key
        try:
            answer = await door.register(request, name)
        except DeviceTaken:
            challenge = await door.challenge(identity.device_api_key, name)
            if challenge is None:
                raise
            log.info("provisioning.proof_given", device_uuid=identity.uuid)
            proof = prove(identity.private_key, identity.uuid, challenge.text)
            answer = await door.register(replace(request, proof=proof), name)
        _check(answer, identity)
        return answer

    def _request(self, identity: Identity) -> RegisterRequest:
        return RegisterRequest(
            uuid=identity.uuid,
            device_name=identity.device_name or f"device-{identity.uuid[:8]}",
            device_type=identity.device_type or "standalone",
            device_api_key=identity.device_api_key,
            provisioning_key=identity.provisioning_key,
            csr=make_csr(identity.private_key, identity.uuid),
            application_id=identity.application_id,
            mac_address=self._facts.mac_address,
            os_version=self._facts.os_version,
            agent_version=self._facts.agent_version,
        )

    async def _exchange(self) -> None:
        """Do the last step where the cloud wants to be spoken to; where it was spoken to, if that does not work."""
        known = address_of(self.identity)
        offered = CloudAddress(
            self.progress.offered_endpoint or known.url, self.progress.offered_ca or known.ca_pem
        )
        if offered != known:
            try:
                return await self._exchange_at(offered)
            except (CloudUnavailable, CloudUnintelligible, *REFUSALS) as exc:
                log.warning(
                    "provisioning.address_not_taken", offered=offered.url, kept=known.url, reason=exc.message
                )
        try:
            await self._exchange_at(known)
        except (DeviceGone, ProofRefused):
            await self._move(self.progress.begun())  # what was registered is not there any more
            raise

    async def _exchange_at(self, address: CloudAddress) -> None:
        transport, before = self._connect(address), self.identity
        try:
            device_id = await self._proven(Door(transport, before.uuid), before)
        finally:
            await transport.close()
        tls = {**before.api_tls_config, _CA: address.ca_pem} if address.ca_pem else before.api_tls_config
        await self._change(
            provisioned=True,
            provisioning_key="",
            registered_at=self._clock(),
            device_id=device_id or before.device_id,
            api_endpoint=address.url,
            api_tls_config=tls,
        )
        await self._move(self.progress.ended(ProvisioningState.PROVISIONED))
        log.info("device.provisioned", device_uuid=before.uuid, device_id=self.identity.device_id)

    async def _proven(self, door: Door, identity: Identity) -> str:
        """Sign the challenge that is kept; when it is good no more, a fresh one."""
        if kept := self.progress.challenge:
            try:
                return await door.key_exchange(_signed(identity, kept))
            except ProofRefused:
                await self._move(self.progress.at(ProvisioningState.REGISTERED, challenge=""))
        challenge = await door.challenge(identity.device_api_key, self.progress.idempotency_key)
        if challenge is None:
            return await door.key_exchange(KeyExchangeRequest(identity.device_api_key))
        await self._move(self.progress.at(ProvisioningState.KEY_EXCHANGING, challenge=challenge.text))
        return await door.key_exchange(_signed(identity, challenge.text))

    async def _change(self, **values: Any) -> None:
        self.identity = await self._device.change(**values)

    async def _move(self, progress: Progress) -> None:
        await self._store.save(progress)
        self.progress = progress


def _signed(identity: Identity, challenge: str) -> KeyExchangeRequest:
    proof = prove(identity.private_key, identity.uuid, challenge)
    return KeyExchangeRequest(identity.device_api_key, proof.signature)


def _check(answer: RegisterAnswer, identity: Identity) -> None:
    """Refuse what cannot be used, before it is kept. Raises CloudUnintelligible."""
    try:
        if answer.certificate and not is_for(answer.certificate, identity.private_key):
            raise CloudUnintelligible("the certificate is for another key than the device's")
        CloudAddress(answer.api_endpoint, _ca_of(answer)).tls()
    except ProvisioningInvalid as exc:
        raise CloudUnintelligible(exc.message) from exc
    except (ssl.SSLError, ValueError) as exc:
        raise CloudUnintelligible(f"api.tlsConfig.caCert cannot be used: {exc}") from exc


def _learnt(identity: Identity, facts: DeviceFacts, answer: RegisterAnswer) -> dict[str, Any]:
    """Return what the answer changes about the device; address and CA are tried first."""
    learnt: dict[str, Any] = {
        "device_id": answer.device_id,
        "device_name": answer.device_name,
        "device_type": answer.device_type or identity.device_type,
        "application_id": answer.application_id or identity.application_id,
        "device_api_key": answer.device_api_key or identity.device_api_key,
        "certificate": answer.certificate,
        **asdict(facts),
    }
    if answer.mqtt is not None:
        learnt |= {
            "mqtt_username": answer.mqtt.username,
            "mqtt_password": answer.mqtt.password,
            "mqtt_broker_url": answer.mqtt.broker_url,
            "mqtt_broker_config": dict(answer.mqtt.broker_config),
        }
    kept: Mapping[str, Any] = {name: value for name, value in answer.api_tls_config.items() if name != _CA}
    own_ca = identity.api_tls_config.get(_CA)
    return {**learnt, "api_tls_config": {**kept, _CA: own_ca} if own_ca else dict(kept)}


def _offered(identity: Identity, answer: RegisterAnswer) -> CloudAddress:
    """Return where the cloud wants to be spoken to; never without TLS when it was with."""
    url = base_url(answer.api_endpoint) if answer.api_endpoint else ""
    if url.startswith("http:") and identity.api_endpoint.startswith("https:"):
        log.warning(
            "provisioning.address_not_taken", offered=url, kept=identity.api_endpoint, reason="no TLS"
        )
        url = ""
    return CloudAddress(url, _ca_of(answer))


def _ca_of(answer: RegisterAnswer) -> str:
    ca = answer.api_tls_config.get(_CA)
    return ca if isinstance(ca, str) else ""
