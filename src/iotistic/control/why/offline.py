"""Why a device is offline: the causes, the nearest first. Pure."""

from datetime import timedelta

from iotistic.control.why.facts import Facts
from iotistic.control.why.finding import (
    lost_together,
    recorded,
    refused_at_the_door,
    since_last_sign,
    switched_off,
    told,
)
from iotistic.control.why.model import Cause, Evidence
from iotistic.control.why.port import About

_OFFLINE = About.OFFLINE
_FULL, _NO_MEMORY, _HOT_C, _WEAK_DBM = 0.95, 0.97, 85.0, -85.0


def _removed(facts: Facts) -> Evidence | None:
    if facts.device is not None:
        return None
    found, noted = facts.newest("device.removed", own=True), facts.more.get("lifecycle", {})
    if found is None:
        return noted if noted.get("code") == "device.removed" else None
    return told(found)


def _online(facts: Facts) -> Evidence | None:
    return {"last_sign": facts.last_sign} if facts.device and facts.is_online else None


def _awaited(facts: Facts) -> Evidence | None:
    found = facts.device
    return {"name": found.name, "at": found.created_at} if found and found.is_awaited else None


def _no_key(facts: Facts) -> Evidence | None:
    return {"name": facts.device.name} if facts.device and facts.keys and not facts.keys.count else None


def _keys_revoked(facts: Facts) -> Evidence | None:
    found = facts.newest("device.emergency_revoked", "device.keys_revoked", own=True)
    if facts.keys is None or facts.keys.good or not facts.keys.count or found is None:
        return None
    return told(found)


def _keys_ended(facts: Facts) -> Evidence | None:
    keys = facts.keys
    return {"at": keys.last_ended_at} if keys and keys.count and not keys.good else None


def _not_proven(facts: Facts) -> Evidence | None:
    known = facts.registration
    is_half = known and known.has_public_key and known.proven_at is None and facts.report is None
    return {"registered_at": known.registered_at} if known and is_half else None


def _certificate_revoked(facts: Facts) -> Evidence | None:
    found = facts.certificate
    return {"at": found.revoked_at} if found and found.revoked_at else None


def _certificate_expired(facts: Facts) -> Evidence | None:
    found = facts.certificate
    return {"at": found.not_after} if found and found.not_after <= facts.now else None


def _certificate_early(facts: Facts) -> Evidence | None:
    found = facts.certificate
    return {"at": found.issued_at} if found and found.issued_at > facts.now + timedelta(minutes=5) else None


def _share(facts: Facts, part: str, whole: str, most: float) -> Evidence | None:
    report = facts.report
    used, total = (report.number(part), report.number(whole)) if report else (None, None)
    if used is None or not total or used / total < most:
        return None
    return {"percent": round(100 * used / total), "last_sign": facts.last_sign}


def _hot(facts: Facts) -> Evidence | None:
    degrees = facts.report.number("temperature") if facts.report else None
    return (
        {"degrees": degrees, "last_sign": facts.last_sign}
        if degrees is not None and degrees >= _HOT_C
        else None
    )


def _weak_signal(facts: Facts) -> Evidence | None:
    listed = facts.report.fields.get("network_interfaces") if facts.report else None
    for one in listed if isinstance(listed, list) else []:  # pyright: ignore[reportUnknownVariableType]
        level = one.get("signalLevel") if isinstance(one, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if isinstance(level, int | float) and level <= _WEAK_DBM:
            return {"dbm": level, "interface": one.get("name"), "last_sign": facts.last_sign}  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return None


def _never_reported(facts: Facts) -> Evidence | None:
    is_new = facts.device is not None and facts.last_sign is None
    return {"at": facts.device.created_at} if is_new and facts.device else None


def _silent(facts: Facts) -> Evidence | None:
    if facts.last_sign is None:
        return {"minutes": None, "last_sign": None}
    return {
        "minutes": round((facts.now - facts.last_sign).total_seconds() / 60),
        "last_sign": facts.last_sign,
    }


_KEY = "make a new key (POST /api/v1/provisioning-keys) and give it to the device"

_DOORS = (
    ("provisioning.key_unknown", "Its provisioning key is none that the cloud knows.", f"Correct the key, or {_KEY}."),
    ("provisioning.key_revoked", "Its provisioning key was revoked.", f"If it shall come in: {_KEY}."),
    ("provisioning.key_expired", "Its provisioning key has expired.", f"{_KEY.capitalize()}."),
    ("provisioning.key_used_up", "Its provisioning key let in as many devices as it may.", f"{_KEY.capitalize()}."),
    (
        "plan.device_limit",
        "The plan allows {limit} devices, and all of them are there: it was not let in.",
        "Remove a device that is not needed, or choose a larger plan.",
    ),
    (
        "provisioning.device_exists",
        "It wants to register although it is known, and does not prove that it is the same: its keys were lost.",
        "If it is the same device, remove it (DELETE /api/v1/devices/UUID) and let it register again.",
    ),
    (
        "provisioning.proof_refused",
        "It wants to register again with a proof by another private key than the one that is known.",
        "Two devices may have one uuid; if it is the same device, remove it and let it register again.",
    ),
    (
        "provisioning.proof_invalid",
        "Its signature does not prove that it has the private key that it registered.",
        "Restore the device's key, or remove the device and let it register again.",
    ),
    (
        "provisioning.no_challenge",
        "It signed something that was used up or too old.",
        "It asks for another by itself; check that its clock is right if this comes again.",
    ),
    (
        "provisioning.challenge_live",
        "Somebody else has a challenge open for it.",
        "Wait until that one is over (minutes); two processes with one uuid come to this again and again.",
    ),
    (
        "provisioning.too_many_attempts",
        "Its address tried to register too often and has to wait.",
        "Wait for the hour to end, or raise PROVISIONING_ATTEMPTS_PER_WINDOW where many devices share an address.",
    ),
    (
        "provisioning.key_id_unknown",
        "It sealed its registration for a cloud key that is not used any more.",
        "It asks for the new key by itself; restart the agent if it does not.",
    ),
    (
        "provisioning.idempotency_key_invalid",
        "The name that it gave its registration cannot be used.",
        "Update the agent; X-Idempotency-Key takes 200 printable ASCII characters.",
    ),
    ("device.key_weak", "The API key that it made itself could be guessed.", "Update the agent: it is to make 256 random bits."),
)  # fmt: skip

CAUSES: tuple[Cause, ...] = (
    Cause(
        code="device.removed",
        about=_OFFLINE,
        sentence="The device was removed on {at} (by {by}).",
        fix="Register it again with a provisioning key if it shall come back.",
        finds=_removed,
    ),
    Cause(
        code="device.awaited",
        about=_OFFLINE,
        sentence="The device {name} was announced on {at}, and none with its MAC or uuid has registered since.",
        fix="Register the device with a provisioning key of the fleet that it is announced for.",
        finds=_awaited,
    ),
    Cause(
        code="device.inactive",
        about=_OFFLINE,
        sentence="The device {name} was switched off {how}: everything that it asks is refused.",
        fix="Switch it on again.",
        finds=switched_off,
    ),
    *(refused_at_the_door(*door) for door in _DOORS),
    Cause(
        code="device.keys_revoked",
        about=_OFFLINE,
        sentence="Every API key of it was revoked on {at}.",
        fix="Let it register again with a proof of its private key; agents of ours do so by themselves.",
        finds=_keys_revoked,
    ),
    Cause(
        code="device.key_ended",
        about=_OFFLINE,
        sentence="Its last API key ended on {at}, and it has no newer one.",
        fix="Let it register again with a proof of its private key.",
        finds=_keys_ended,
    ),
    Cause(
        code="device.no_key",
        about=_OFFLINE,
        sentence="The device {name} has no API key at all.",
        fix="Let it register again.",
        finds=_no_key,
    ),
    Cause(
        code="device.online",
        about=_OFFLINE,
        sentence="It is online; it was last heard of on {last_sign}.",
        fix="Nothing is to be done.",
        finds=_online,
        is_normal=True,
    ),
    Cause(
        code="device.not_proven",
        about=_OFFLINE,
        sentence="It registered on {registered_at} and never did the last step, the key exchange.",
        fix="Look into the agent's log; it may be switched off, or its way to POST /device/UUID/key-exchange closed.",
        finds=_not_proven,
    ),
    Cause(
        code="certificate.revoked",
        about=_OFFLINE,
        sentence="Its certificate was revoked on {at}: the broker refuses it.",
        fix="Let it ask for a new certificate (POST /device/UUID/certificate), or register again.",
        finds=_certificate_revoked,
    ),
    Cause(
        code="certificate.expired",
        about=_OFFLINE,
        sentence="Its certificate expired on {at}: the broker refuses it.",
        fix="Let it ask for a new certificate over HTTPS (POST /device/UUID/certificate); check its clock.",
        finds=_certificate_expired,
    ),
    Cause(
        code="certificate.not_yet_valid",
        about=_OFFLINE,
        sentence="Its certificate is good from {at} on only.",
        fix="Set the clocks of the cloud and of the certificate authority.",
        finds=_certificate_early,
    ),
    recorded(
        _OFFLINE,
        "presence.session_taken_over",
        "Another client connected to the broker under its name on {at} (from {address}): each throws the other out.",
        "Find the second device or program with the same identity; give it one of its own.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "presence.broker_denied",
        "The broker refused its name or password on {at}.",
        "Let it register again, which gives it a new password; check that the broker's files are up to date.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "device.key_unknown",
        "It shows an API key that is not its own, or is good no more (last on {at}).",
        "Let it register again with a proof of its private key; a restored disk image often has an old key.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "device.clock_wrong",
        "Its clock is wrong by {seconds} s, so it trusts no certificate.",
        "Set its clock, or let it reach a time server.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "agent.update_started",
        "Its agent began to update itself to {version} on {at} and has not come back.",
        "Wait ten minutes; then look at the device: the agent keeps its former version beside the new one.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "device.reboot_asked",
        "It was told to reboot on {at} (by {by}) and has not come back.",
        "Wait some minutes; then look at its power and its storage.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "device.shutdown_asked",
        "It was told to shut down on {at} (by {by}).",
        "Switch it on at the place where it stands.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "presence.disconnected",
        "It took leave of the broker itself on {at}: its agent was stopped, or it was shut down.",
        "Start the agent, or switch the device on.",
        since=since_last_sign,
        own=True,
    ),
    lost_together(
        "presence.broker_restarted",
        "The broker restarted on {at}, and the device has not come back since.",
        "Devices come back within minutes, spread over time; then look at its network.",
    ),
    lost_together(
        "presence.broker_full",
        "The broker has as many connections as it may ({limit}).",
        "Raise the broker's limit of connections, or of open files.",
    ),
    lost_together(
        "presence.cloud_was_down",
        "The cloud itself was away from {from} to {at}: nobody could be heard.",
        "Nothing is to be done; devices come back by themselves.",
    ),
    recorded(
        _OFFLINE,
        "vpn.down",
        "Its VPN went down on {at}, and its broker is behind it.",
        "Look at the VPN's server and the device's peer.",
        since=since_last_sign,
    ),
    Cause(
        code="device.disk_full",
        about=_OFFLINE,
        sentence="Its disk was {percent} % full when it was last heard of, on {last_sign}.",
        fix="Free space on the device; the agent cannot write its store on a full disk.",
        finds=lambda facts: _share(facts, "storage_usage", "storage_total", _FULL),
    ),
    Cause(
        code="device.memory_full",
        about=_OFFLINE,
        sentence="Its memory was {percent} % full when it was last heard of, on {last_sign}.",
        fix="Give its services memory limits; the kernel may have ended the agent.",
        finds=lambda facts: _share(facts, "memory_usage", "memory_total", _NO_MEMORY),
    ),
    Cause(
        code="device.too_hot",
        about=_OFFLINE,
        sentence="It was {degrees} °C hot when it was last heard of, on {last_sign}.",
        fix="Cool it; at such heat boards switch themselves off.",
        finds=_hot,
    ),
    Cause(
        code="device.weak_signal",
        about=_OFFLINE,
        sentence="Its radio signal was weak ({dbm} dBm at {interface}) when it was last heard of, on {last_sign}.",
        fix="Move the device or the access point, or use a cable.",
        finds=_weak_signal,
    ),
    Cause(
        code="device.never_reported",
        about=_OFFLINE,
        sentence="It has been known since {at} and never reported anything.",
        fix="Start the agent on it; check that it reaches the API.",
        finds=_never_reported,
    ),
    recorded(
        _OFFLINE,
        "presence.connection_lost",
        "Its connection to the broker ended on {at}, and nothing came after it.",
        "Look at the network and the power where it stands; on the device: `iotctl status`.",
        since=since_last_sign,
        own=True,
    ),
    recorded(
        _OFFLINE,
        "presence.keepalive_timeout",
        "It fell silent without a word, which was noticed on {at}: the network or the power is gone.",
        "Look at the network and the power where it stands.",
        since=since_last_sign,
        own=True,
    ),
    Cause(
        code="device.silent",
        about=_OFFLINE,
        sentence="Nothing was heard of it for {minutes} minutes (last on {last_sign}), and nothing tells why.",
        fix="Look at the network and the power where it stands; on the device: `iotctl status`.",
        finds=_silent,
    ),
)
