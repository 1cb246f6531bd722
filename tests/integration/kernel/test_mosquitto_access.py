"""Who may do what on the broker, and what the log says about who may not."""



def test_a_device_publishes_under_its_own_mac(broker):
    device = broker.connected_device("aabbccddee01")
    service = broker.service("reader")
    service.subscribe("tele/#")

    assert device.publish("tele/f2-aabbccddee01/sensor-mode/J1/sensor-1", b"x") == 0
    assert service.receive().payload == b"x"
