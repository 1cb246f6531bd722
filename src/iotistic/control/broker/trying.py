"""Tries a broker that is configured: a real connection, with its CA and its login, ended at once.

    name -> checked address -> TLS, with the CA -> MQTT 5, with the login

A name is resolved once, every address checked, and the connection made to the one that was checked, so that nobody
makes this server ask its own network. What was found stands in the answer, also when it is a refusal.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from secrets import token_hex

from pydantic import SecretStr

from iotistic.control.alerts.addresses import Network, is_allowed, networks_of
from iotistic.control.broker.brokers import BrokerRow
from iotistic.kernel.mqtt.packets import (
    Connack,
    PacketReader,
    ProtocolError,
    encode_connect,
    encode_disconnect,
)
from iotistic.kernel.mqtt.reasons import is_failure, reason_name

_READ = 65_536
_MOST_ANSWER = 64 * 1024
_LOGIN_REFUSED = {0x86, 0x87}
_WANTS_CERTIFICATE = "brokers that want a certificate of their clients end a connection like this"


class Stage(StrEnum):
    """How far it came."""

    NAME = "name"
    CONNECTION = "connection"
    TLS = "tls"
    MQTT = "mqtt"
    DONE = "done"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What came of it. `code` and `reason` say why it is not `ok`."""

    ok: bool = False
    stage: Stage
    code: str = ""
    reason: str = ""
    hint: str = ""
    took_ms: float = 0.0
    address: str = ""
    tls_version: str = ""
    warnings: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Failed(Exception):  # noqa: N818  how far it came, and not an error of ours
    stage: Stage
    code: str
    reason: str
    hint: str = ""


class BrokerTrials:
    """Tries brokers; `networks` are private ones that may be asked, as CIDR with commas between."""

    def __init__(self, *, networks: str, timeout_s: float) -> None:
        self._networks, self._timeout_s = networks_of(networks), timeout_s

    async def attempt(self, broker: BrokerRow, password: SecretStr | None) -> Trial:
        """Return what came of one attempt; raises nothing for a broker that cannot be used."""
        began, stage = time.monotonic(), _Progress()
        try:
            async with asyncio.timeout(self._timeout_s):
                trial = await self._connect(broker, password, stage)
        except TimeoutError:
            reason = f"no answer within {self._timeout_s:g} s"
            trial = Trial(stage=stage.at, code="mqtt.unanswered", reason=reason, address=stage.address)
        except _Failed as failed:
            trial = Trial(
                stage=failed.stage,
                code=failed.code,
                reason=failed.reason,
                hint=failed.hint,
                address=stage.address,
            )
        return replace(trial, took_ms=round((time.monotonic() - began) * 1000, 1))

    async def _connect(self, broker: BrokerRow, password: SecretStr | None, stage: "_Progress") -> Trial:
        host = broker.host.strip("[]")
        stage.address = await _checked(host, broker.port, self._networks)
        stage.at = Stage.CONNECTION
        reader, writer = await _opened(stage.address, broker.port)
        try:
            version = ""
            if broker.protocol == "mqtts":
                stage.at = Stage.TLS
                version = await _secured(writer, host, broker)
            stage.at = Stage.MQTT
            await _let_in(reader, writer, broker, password)
        finally:
            writer.transport.abort()
        return Trial(
            ok=True,
            stage=Stage.DONE,
            address=stage.address,
            tls_version=version,
            warnings=tuple(_warnings(broker, password)),
        )


class _Progress:
    def __init__(self) -> None:
        self.at, self.address = Stage.NAME, ""


async def _checked(host: str, port: int, networks: Sequence[Network]) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise _Failed(Stage.NAME, "mqtt.name_unresolved", f"{host} cannot be resolved") from exc
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if any(not is_allowed(ipaddress.ip_address(one.partition("%")[0]), networks) for one in addresses):
        raise _Failed(
            Stage.NAME,
            "mqtt.address_refused",
            f"this server asks no broker at the address of {host}",
            "private networks are allowed by BROKER_TEST_NETWORKS of the server",
        )
    return addresses[0]


async def _opened(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(address, port)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise _Failed(Stage.CONNECTION, "mqtt.unreachable", f"{address}, port {port}: {reason}") from exc


async def _secured(writer: asyncio.StreamWriter, host: str, broker: BrokerRow) -> str:
    context = ssl.create_default_context(cadata=broker.ca_pem or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not broker.verify_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        await writer.start_tls(context, server_hostname=host)
    except ssl.SSLCertVerificationError as exc:
        hint = "send the CA that signed the broker's certificate as ca_pem, and the name that stands in it as host"
        raise _Failed(Stage.TLS, "mqtt.certificate_refused", exc.verify_message, hint) from exc
    except (ssl.SSLError, OSError) as exc:
        reason = getattr(exc, "reason", None) or str(exc) or "the connection ended"
        hint = "a broker that wants a certificate of its clients, or one without TLS at this port, looks like this"
        raise _Failed(Stage.TLS, "mqtt.tls_failed", str(reason)[:200], hint) from exc
    secured = writer.get_extra_info("ssl_object")
    return str(secured.version()) if secured is not None else ""


async def _let_in(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    broker: BrokerRow,
    password: SecretStr | None,
) -> None:
    writer.write(
        encode_connect(
            client_id=f"iotistic-test-{token_hex(6)}",
            username=broker.username or None,
            password=None if password is None else password.get_secret_value(),
            keepalive_s=30,
            clean_start=True,
        )
    )
    packets, received = PacketReader(), 0
    try:
        await writer.drain()
        while True:
            data = await reader.read(_READ)
            received += len(data)
            if not received:
                raise _Failed(Stage.MQTT, "mqtt.no_answer", "it ended the connection", _WANTS_CERTIFICATE)
            if not data or received > _MOST_ANSWER:
                raise _Failed(Stage.MQTT, "mqtt.not_mqtt", "it answers with something else than MQTT")
            if answers := packets.feed(data):
                break
        if not isinstance(answers[0], Connack):
            raise _Failed(Stage.MQTT, "mqtt.not_mqtt", "it answers with something else than a greeting")
        _refuse(answers[0])
        writer.write(encode_disconnect())
        await writer.drain()
    except ProtocolError as exc:
        raise _Failed(Stage.MQTT, "mqtt.not_mqtt", f"it does not speak MQTT 5: {exc}"[:200]) from exc
    except (OSError, ssl.SSLError) as exc:
        reason = str(exc)[:200] or "the connection ended"
        raise _Failed(Stage.MQTT, "mqtt.no_answer", reason, _WANTS_CERTIFICATE) from exc


def _refuse(answer: Connack) -> None:
    if not is_failure(answer.reason):
        return
    said = f"it refuses us: {reason_name(answer.reason)}"
    if answer.reason_text:
        said = f"{said}, {answer.reason_text[:200]}"
    is_login = answer.reason in _LOGIN_REFUSED
    hint = "compare username and password" if is_login else ""
    raise _Failed(Stage.MQTT, "mqtt.login_refused" if is_login else "mqtt.refused", said, hint)


def _warnings(broker: BrokerRow, password: SecretStr | None) -> list[str]:
    found: list[str] = []
    if broker.protocol == "mqtt" and password is not None:
        found.append("the password goes over the network in plain text")
    if broker.protocol == "mqtts" and not broker.verify_certificate:
        found.append("the broker's certificate is not checked, so anybody may stand in its place")
    return found
