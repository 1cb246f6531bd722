"""`iotistic cert`: identities of devices, over HTTPS to the running certificate authority."""

from pathlib import Path
from typing import Annotated

import cyclopts

from iotistic.contracts.mac import format_mac, parse_mac
from iotistic.entrypoints.authority import connect
from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.credentials import DeviceFolder
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid
from iotistic.pki.model import Reason

app = cyclopts.App(
    name="cert", help="Issue, list, renew and revoke device certificates.", help_format="plaintext"
)
token = cyclopts.App(name="token", help="Tokens that let devices enrol, and nothing else.")
app.command(token)

_LIST_COLUMNS = ("mac", "kind", "serial", "not_after", "issued_by", "revoked_at", "revoked_reason")
_TOKEN_COLUMNS = ("id", "label", "uses", "max_uses", "expires_at", "revoked_at")

Flag = Annotated[bool, cyclopts.Parameter(negative="")]


class WrongTarget(Invalid):
    """Name either a MAC address or, with --serial, one certificate."""

    code = "cert.wrong_target"


@app.command
def issue(mac: str, *, out: Path | None = None, replace: Flag = False, json: AsJson = False) -> None:
    """Make a key here and get a certificate for it; the key never leaves this machine.

    Parameters
    ----------
    mac
        The device's MAC address.
    out
        Folder for client.key, client.crt and ca.crt (mode 600); default: a folder named after the MAC.
    replace
        Revoke the device's valid certificate first.
    """
    device = parse_mac(mac)
    folder = DeviceFolder(out or Path(device))
    csr = folder.prepare(device)
    with connect() as authority:
        answer = authority.certify(device, csr, replace=replace)
    folder.accept(answer.client_cert, answer.ca_cert)
    emit(
        {
            "mac": answer.mac,
            "serial": answer.serial,
            "expires_at": answer.expires_at,
            "certificate": folder.certificate,
            "key": folder.key,
            "ca": folder.ca,
        },
        json=json,
    )


@app.command
def renew(folder: Path, *, json: AsJson = False) -> None:
    """Get a new certificate with the old one as credential; no token is needed.

    Parameters
    ----------
    folder
        Folder with client.key, client.crt and ca.crt, as `issue` made it.
    """
    device = DeviceFolder(folder)
    csr = device.prepare_renewal()
    with connect(identity=(device.certificate, device.key)) as authority:
        answer = authority.renew(csr)
    device.accept(answer.client_cert, answer.ca_cert)
    emit(
        {
            "mac": answer.mac,
            "serial": answer.serial,
            "expires_at": answer.expires_at,
            "certificate": device.certificate,
        },
        json=json,
    )


@app.command(name="list")
def list_certificates(
    *,
    mac: str | None = None,
    expiring_within_days: float | None = None,
    revoked: bool | None = None,
    json: AsJson = False,
) -> None:
    """List issued certificates in the order of their expiry.

    Parameters
    ----------
    mac
        Only those of this device.
    expiring_within_days
        Only those that are valid now and expire within so many days.
    revoked
        Only those revoked, or with --no-revoked only the others.
    """
    chosen: dict[str, object] = {
        "mac": mac,
        "expiring_within_days": expiring_within_days,
        "revoked": revoked,
    }
    with connect() as authority:
        rows = list(authority.certificates(**chosen))
    emit(rows, json=json, columns=() if json else _LIST_COLUMNS, empty="no certificates")


@app.command
def revoke(
    mac: str | None = None,
    *,
    serial: str | None = None,
    reason: Reason = Reason.UNSPECIFIED,
    json: AsJson = False,
) -> None:
    """Revoke a device's certificates: it is disconnected at once and refused from then on.

    Parameters
    ----------
    mac
        The device, whose valid certificates are all revoked.
    serial
        One certificate instead.
    reason
        Why; stands in the revocation list.
    """
    if (mac is None) == (serial is None):
        raise WrongTarget
    with connect() as authority:
        answer = authority.revoke(
            mac=format_mac(parse_mac(mac)) if mac else None, serial=serial, reason=reason
        )
    if json:
        emit(answer, json=True)
        return
    emit(answer["revoked"], json=False, columns=_LIST_COLUMNS)
    emit("the broker has been told" if answer["broker_enforced"] else "the broker will be told", json=False)


@token.command
def create(*, label: str = "", hours: float = 24, max_uses: int | None = None, json: AsJson = False) -> None:
    """Make a token that devices enrol with; it is shown this once.

    Parameters
    ----------
    label
        What it is for.
    hours
        Hours until it ends.
    max_uses
        Certificates it may issue; unlimited when not given.
    """
    with connect() as authority:
        made = authority.create_token(label=label, hours=hours, max_uses=max_uses)
    emit(made, json=json)


@token.command(name="list")
def list_tokens(*, json: AsJson = False) -> None:
    """List enrolment tokens, newest first."""
    with connect() as authority:
        emit(authority.tokens(), json=json, columns=() if json else _TOKEN_COLUMNS, empty="no tokens")


@token.command(name="revoke")
def revoke_token(token_id: str, *, json: AsJson = False) -> None:
    """End a token now; certificates issued under it stay valid.

    Parameters
    ----------
    token_id
        Its id, as the list shows it.
    """
    with connect() as authority:
        emit(authority.revoke_token(token_id), json=json)
