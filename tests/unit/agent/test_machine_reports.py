"""What reports say of a machine."""

import json

from iotistic.agent.metrics.machine import Observer
from iotistic.agent.metrics.model import Interface, Machine, Memory, Process, Storage
from iotistic.agent.reporting.machine import describe_interfaces, describe_machine, local_ip

MACHINE = Machine(
    12.345,
    48.06,
    Memory(100, 400),
    Storage(5, 50),
    99.7,
    (),
    (Process(1, "init", 0.5, 0.1),),
    31 << 20,
    0.123,
)


def interface(name="eth0", *, ip4="192.168.1.7", default=True, virtual=False):
    return Interface(name, ip4, None, "02:00:00:00:00:01", "wired", default, virtual, "up", 10, 20)


def test_figures_have_the_names_and_units_of_the_contract():
    assert describe_machine(MACHINE) == {
        "cpu_usage": 12.3,
        "memory_usage": 100,
        "memory_total": 400,
        "storage_usage": 5,
        "storage_total": 50,
        "temperature": 48.1,
        "uptime": 100,
        "agent_cpu": 0.12,
        "agent_memory": 31 << 20,
        "top_processes": [{"pid": 1, "name": "init", "cpu": 0.5, "mem": 0.1}],
    }


def test_what_is_not_known_is_not_said():
    said = describe_machine(
        MACHINE._replace(cpu_usage=None, temperature=None, agent_cpu=None, top_processes=())
    )

    assert not {"cpu_usage", "temperature", "agent_cpu", "top_processes"} & said.keys()


def test_interfaces_are_told_without_counters_and_without_those_of_containers():
    told = describe_interfaces(
        (interface(), interface("veth12ab", virtual=True), interface("wg0", virtual=True))
    )

    assert [one["name"] for one in told] == ["eth0", "wg0"]
    assert "received_bytes" not in told[0]


def test_the_local_address_is_the_one_towards_the_world():
    assert local_ip((interface("lo0", default=False), interface(ip4="10.0.0.9"))) == "10.0.0.9"
    assert local_ip((interface(ip4=None),)) is None


def test_a_real_machine_can_be_told(tmp_path):
    machine = Observer(tmp_path).look()

    assert json.dumps([describe_machine(machine), describe_interfaces(machine.interfaces)])
