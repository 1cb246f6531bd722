"""What the agent says of its machine, from files as Linux writes them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.metrics import proc
from iotistic.agent.metrics.machine import Observer
from iotistic.agent.metrics.model import Memory

STAT = "cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n"
LATER = "cpu  150 0 150 750 150 0 0 0 90 0\ncpu0 1 2 3\n"
MEMINFO = (
    "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     400 kB\nHugePages_Total:  7\n"
)
PROCESS = b"%d (a ) b) S 1 1 1 0 -1 4194560 0 0 0 0 %d 50 0 0 20 0 1 0 100 1000000 25 18446744073709551615"
ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\nwlan0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\n"
IF_INET6 = (
    "fe800000000000000000000000000001 02 40 20 80 wlan0\n20010db8000000000000000000000001 02 40 00 80 wlan0\n"
)
NET_DEV = "Inter-|   Receive\n face |bytes\n wlan0: 1000 1 0 0 0 0 0 0 2000 1 0 0 0 0 0 0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "proc/stat": STAT,
        "proc/meminfo": MEMINFO,
        "proc/uptime": "3600.25 7000.00\n",
        "proc/net/route": ROUTES,
        "proc/net/if_inet6": IF_INET6,
        "proc/net/dev": NET_DEV,
        "proc/self/statm": "100 20 10 1 0 10 0\n",
        "sys/class/thermal/thermal_zone0/temp": "48250\n",
        "sys/class/thermal/thermal_zone1/temp": "61000\n",
        "sys/class/thermal/thermal_zone2/temp": "-273000\n",
        "sys/class/net/wlan0/type": "1\n",
        "sys/class/net/wlan0/address": "b8:27:eb:00:00:01\n",
        "sys/class/net/wlan0/operstate": "up\n",
        "sys/class/net/wlan0/wireless/status": "",
        "sys/class/net/wlan0/device/vendor": "",
        "sys/class/net/lo/type": "772\n",
        "sys/class/net/bonding_masters": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for pid, ticks in ((7, 100), (8, 300)):
        (tmp_path / f"proc/{pid}").mkdir()
        (tmp_path / f"proc/{pid}/stat").write_bytes(PROCESS % (pid, ticks))
    return tmp_path


def test_a_machine_is_described_as_its_files_say(root: Path) -> None:
    machine = Observer(root, root=root).look()

    assert machine.memory == Memory(600 * 1024, 1000 * 1024)
    assert machine.temperature == 61.0
    assert machine.uptime_s == 3600.25
    (wlan,) = machine.interfaces
    assert (wlan.name, wlan.type, wlan.default, wlan.virtual) == ("wlan0", "wifi", True, False)
    assert wlan.ip6 == "2001:db8::1"
    assert (wlan.received_bytes, wlan.sent_bytes) == (1000, 2000)
    assert {process.name for process in machine.top_processes} == {"a ) b"}


def test_shares_of_cpu_are_of_the_time_between_two_looks(root: Path) -> None:
    now = [100.0]
    observer = Observer(root, root=root, clock=lambda: now[0])
    assert observer.look().cpu_usage is None
    (root / "proc/stat").write_text(LATER)
    (root / "proc/8/stat").write_bytes(PROCESS % (8, 400))
    now[0] += 2

    machine = observer.look()

    assert machine.cpu_usage == pytest.approx(50.0)
    assert machine.top_processes[0].pid == 8
    assert machine.top_processes[0].cpu == pytest.approx(50.0, abs=50)


def test_a_machine_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    observer = Observer(tmp_path / "missing", root=tmp_path)
    observer.look()
    machine = observer.look()

    assert machine.cpu_usage is None
    assert machine.temperature is None
    assert machine.memory == Memory(0, 0)
    assert machine.interfaces == ()


def test_this_very_machine_can_be_read() -> None:
    observer = Observer(Path("/"))
    observer.look()
    machine = observer.look()

    assert machine.memory.total > machine.memory.used > 0
    assert machine.storage.total > 0
    assert machine.agent_memory > 1 << 20
    assert len(machine.top_processes) <= 10


@given(st.text())
def test_nothing_that_a_file_says_makes_a_parser_fall(text: str) -> None:
    proc.parse_cpu(text)
    proc.parse_cpu(f"cpu {text}")
    proc.parse_meminfo(text)
    proc.parse_meminfo(f"MemTotal: {text}")
    proc.parse_process(text.encode("utf-8", "replace"))
    proc.parse_process(b"1 (x) S " + text.encode("utf-8", "replace"))
    proc.parse_default_routes(text)
    proc.parse_ip6(f"{'0' * 32} 1 1 {text} 1 eth0")
    proc.parse_traffic(f"a\nb\n{text}")
    proc.hottest([text])
