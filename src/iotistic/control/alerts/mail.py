"""Mail over SMTP, by the standard library in a thread: a few mails an hour need no more."""

import asyncio
import smtplib
import ssl
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import msgspec

from iotistic.control.alerts.model import Delivery, Event, Target
from iotistic.control.alerts.settings import MailSettings
from iotistic.kernel.errors import Denied, Invalid, Unavailable

_SUBJECTS = {Event.FIRING: "Alert", Event.RESOLVED: "Resolved", Event.TEST: "Test"}


class MailFailed(Unavailable):
    """The mail server did not take the message."""

    code = "alerts.mail_failed"


class MailRefused(Denied):
    """The mail server does not want the message, and will not want it later."""

    code = "alerts.mail_refused"


class MailNotConfigured(Invalid):
    """No mail server is given."""

    code = "alerts.mail_not_configured"


class _Told(msgspec.Struct):
    alert: dict[str, Any] = {}


class MailSender:
    """Sends messages through the configured server."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    async def send(self, target: Target, delivery: Delivery) -> None:
        """Deliver. Raises MailFailed, MailRefused, MailNotConfigured."""
        if not self._settings.smtp_host:
            raise MailNotConfigured(hint="set SMTP_HOST of the server")
        try:
            message = write_mail(self._settings.smtp_from, target, delivery)
            await asyncio.to_thread(self._send, message)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused) as exc:
            raise _refusal(exc) from exc
        except smtplib.SMTPResponseException as exc:
            raise _kind(exc.smtp_code)(f"{exc.smtp_code} {_text(exc.smtp_error)}"[:300]) from exc
        except (smtplib.SMTPException, OSError) as exc:
            raise MailFailed(f"{type(exc).__name__}: {exc}"[:300]) from exc
        except (ValueError, MessageError) as exc:
            raise MailRefused(f"the mail cannot be written: {exc}"[:300]) from exc

    def _send(self, message: EmailMessage) -> None:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.smtp_ca_file or None)
        where: dict[str, Any] = {
            "host": settings.smtp_host,
            "port": settings.smtp_port,
            "timeout": settings.smtp_timeout_s,
        }
        opened = smtplib.SMTP_SSL(context=context, **where) if settings.smtp_security == "tls" else None
        with opened or smtplib.SMTP(**where) as server:
            if settings.smtp_security == "starttls":
                server.starttls(context=context)  # raises when the server does not offer it
            if settings.smtp_username and settings.smtp_password and settings.smtp_security != "none":
                server.login(settings.smtp_username, settings.smtp_password.get_secret_value())
            server.send_message(message)


def write_mail(sender: str, target: Target, delivery: Delivery) -> EmailMessage:
    """Return the mail of a delivery; texts of devices stand in it as they are, in no header unfolded."""
    alert = msgspec.json.decode(delivery.payload, type=_Told).alert
    lines = dict(_flat(alert))
    name, device = lines.get("rule.name") or target.name, lines.get("device.name") or ""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(addr_spec=sender)
    message["To"] = [Address(addr_spec=one) for one in target.channel["addresses"]]
    subject = f"[{alert.get('severity', 'test')}] {_SUBJECTS[delivery.event]}: {name} {device}"
    message["Subject"] = " ".join(subject.split())[:200]
    # The same for every attempt: mail systems drop the second of one id.
    message["Message-ID"] = f"<{delivery.id}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    text = [f"{key}: {value}" for key, value in lines.items() if value is not None]
    message.set_content("\n".join([f"{_SUBJECTS[delivery.event]}: {name}", "", *text]) + "\n")
    return message


def _flat(alert: dict[str, Any]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in alert.items():
        if isinstance(value, dict):
            found += [(f"{key}.{inner}", one) for inner, one in value.items()]  # pyright: ignore[reportUnknownVariableType]
        else:
            found.append((key, value))
    return found


def _kind(code: int) -> type[MailFailed | MailRefused]:
    return MailRefused if 500 <= code < 600 else MailFailed  # noqa: PLR2004  as RFC 5321 divides them


def _refusal(exc: smtplib.SMTPRecipientsRefused | smtplib.SMTPSenderRefused) -> MailFailed | MailRefused:
    answers = (
        list(exc.recipients.values())
        if isinstance(exc, smtplib.SMTPRecipientsRefused)
        else [(exc.smtp_code, exc.smtp_error)]
    )
    code, text = answers[0]
    return _kind(code)(f"{code} {_text(text)}"[:300])


def _text(answer: bytes | str) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
