"""Webhooks: one POST, signed, to a checked address.

    Iotistic-Delivery: <id>                      the same for every attempt: whoever knows it drops the second
    Iotistic-Signature: t=<seconds>,v1=<hex>     HMAC-SHA256 of "<seconds>.<body>"; twice while a secret is rotated

A receiver refuses what is older than five minutes and compares in constant time (`verify` shows how).
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import httpx2

from iotistic.control.alerts.addresses import NameUnresolved, checked_address, networks_of
from iotistic.control.alerts.model import Delivery, Target
from iotistic.control.alerts.settings import DeliverySettings
from iotistic.kernel.errors import Denied, Invalid, Unavailable

SIGNATURE, DELIVERY, EVENT = "Iotistic-Signature", "Iotistic-Delivery", "Iotistic-Event"
_PREFIX = "whsec_"
_READ_BYTES = 4096
_COME_AGAIN = {408, 425, 429}


class WebhookFailed(Unavailable):
    """The receiver did not take the message."""

    code = "alerts.webhook_failed"


class WebhookRefused(Denied):
    """The receiver does not want the message, and will not want it later."""

    code = "alerts.webhook_refused"


class UrlInvalid(Invalid):
    """This is no address that a webhook can go to."""

    code = "alerts.url_invalid"


def check_url(text: str, *, plain: bool) -> httpx2.URL:
    """Return the address of a webhook. Raises UrlInvalid."""
    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, TypeError) as exc:
        raise UrlInvalid(str(exc)) from exc
    if url.scheme not in ("https", *(("http",) if plain else ())) or not url.host:
        raise UrlInvalid(hint="give an https:// address; http needs ALERT_WEBHOOK_PLAIN of the server")
    if url.userinfo:
        raise UrlInvalid("an address holds no user and password", hint="check the signature instead")
    return url


def signing_secret(master: str, target_id: UUID, generation: int) -> str:
    """Return a target's secret, as its receiver is given it."""
    made = hmac.digest(master.encode(), f"alert webhook {target_id} {generation}".encode(), hashlib.sha256)
    return _PREFIX + base64.urlsafe_b64encode(made).decode().rstrip("=")


def sign(secrets: Sequence[str], body: bytes, at_s: int) -> str:
    """Return the value of the signature header."""
    signed = f"{at_s}.".encode() + body
    marks = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={at_s}", *(f"v1={mark}" for mark in marks)])


def verify(secret: str, header: str, body: bytes, now_s: float, *, within_s: float = 300) -> bool:
    """Say whether a message is from us and of now, as receivers do."""
    parts = [part.partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t" and value.isdecimal() and value.isascii()]
    if len(times) != 1 or abs(now_s - int(times[0])) > within_s:
        return False
    wanted = sign([secret], body, int(times[0])).partition("v1=")[2]
    given = [value for name, _, value in parts if name == "v1"]
    return any(hmac.compare_digest(wanted.encode(), one.encode()) for one in given)


class WebhookSender:
    """Sends messages; one connection each, so that a target cannot hold on to another's."""

    def __init__(self, settings: DeliverySettings, *, verify_tls: object = True) -> None:
        """`verify_tls`: an SSL context, in the place of the machine's certificates."""
        self._settings, self._verify = settings, verify_tls
        self._networks = networks_of(settings.alert_webhook_networks)

    def secrets(self, target: Target, now: datetime) -> list[str]:
        """Return the secrets that a message is signed with now, the newest first."""
        master = self._settings.alert_signing_secret.get_secret_value()
        generations = [target.secret_generation]
        if target.former_secret_until is not None and target.former_secret_until > now:
            generations.append(target.secret_generation - 1)
        return [signing_secret(master, target.id, one) for one in generations]

    async def send(self, target: Target, delivery: Delivery, now: datetime) -> None:
        """Deliver. Raises WebhookFailed, WebhookRefused, UrlInvalid, AddressRefused, NameUnresolved."""
        url = check_url(str(target.channel["url"]), plain=self._settings.alert_webhook_plain)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            async with asyncio.timeout(self._settings.alert_webhook_timeout_s):
                address = await checked_address(url.host, port, self._networks)
        except TimeoutError as exc:  # a resolver may take minutes to give up
            raise NameUnresolved(host=url.host) from exc
        body = delivery.payload.encode()
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "iotistic-alerts/1",
            DELIVERY: str(delivery.id),
            EVENT: delivery.event.value,
            SIGNATURE: sign(self.secrets(target, now), body, int(now.timestamp())),
        }
        await self._post(url, url.copy_with(host=address), headers, body)

    async def _post(self, url: httpx2.URL, to: httpx2.URL, headers: dict[str, str], body: bytes) -> None:
        options = {"sni_hostname": url.raw_host.decode("ascii")} if url.scheme == "https" else {}
        timeout = self._settings.alert_webhook_timeout_s
        try:
            # No proxy and no netrc of the environment: they would undo the check of the address.
            async with (
                httpx2.AsyncClient(
                    verify=self._verify,  # type: ignore[arg-type]
                    trust_env=False,
                    follow_redirects=False,
                    timeout=timeout,
                ) as client,
                client.stream("POST", to, content=body, headers=headers, extensions=options) as answer,
            ):
                status, told = answer.status_code, await _beginning(answer)
        except (httpx2.HTTPError, OSError) as exc:
            raise WebhookFailed(f"{type(exc).__name__}: {exc}"[:300]) from exc
        if 200 <= status < 300:  # noqa: PLR2004  any of them
            return
        reason = f"the receiver answered {status}: {told}"[:300]
        if 300 <= status < 500 and status not in _COME_AGAIN:  # noqa: PLR2004  redirects, and our own fault
            raise WebhookRefused(reason)
        raise WebhookFailed(reason)


async def _beginning(answer: httpx2.Response) -> str:
    """Return the beginning of an answer; the rest is not read, however long it is."""
    async for piece in answer.aiter_raw(_READ_BYTES):
        return piece[:200].decode("utf-8", "replace").replace("\0", "")
    return ""
