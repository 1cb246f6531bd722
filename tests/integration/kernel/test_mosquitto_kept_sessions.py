"""Mosquitto lives through what made it crash: sessions of TLS devices kept while certificates are revoked.

With a SIGHUP for each revocation it lists absent sessions twice, frees them once when their devices are back,
and crashes at its next look for sessions to expire, which is every second.
"""

DEVICES = [f"aabbccddee{n:02x}" for n in range(60)]
ROUNDS = 4


def joined(broker, credential):
    device = broker.device(credential)
    device.connect(credential.cn, clean_start=False, session_expiry_s=3600)
    return device


async def test_devices_that_were_away_while_others_were_revoked_find_their_messages(own_broker):
    authority, control = own_broker.authority, own_broker.control
    credentials = [authority.issue(mac) for mac in DEVICES]
    strangers = [authority.issue(f"bbbbccddee{n:02x}") for n in range(3 * ROUNDS)]
    service = own_broker.service("commander")
    devices = [joined(own_broker, credential) for credential in credentials]
    for device, mac in zip(devices, DEVICES, strict=True):
        device.subscribe(f"cmnd/f2-{mac}/#")
    for number in range(ROUNDS):
        for device in devices:
            device.close()
        for _ in range(3):
            assert await control.apply_crl(authority.revoke(strangers.pop()))
            await control.disconnect([])
        for mac in DEVICES:
            assert service.publish(f"cmnd/f2-{mac}/a/J1/b", f"{number} {mac}".encode()) < 128
        devices = [joined(own_broker, credential) for credential in credentials]
        received = [device.receive().payload.decode() for device in devices]
        assert received == [f"{number} {mac}" for mac in DEVICES]

    assert own_broker.server.process.returncode is None
    assert all(device.publish(f"tele/f2-{mac}/a") < 128 for device, mac in zip(devices, DEVICES, strict=True))
