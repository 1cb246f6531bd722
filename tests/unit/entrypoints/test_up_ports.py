import socket
from pathlib import Path

import pytest

from iotistic.entrypoints.up import lock, memory
from iotistic.entrypoints.up.follow import Follower
from iotistic.entrypoints.up.memory import Memory
from iotistic.entrypoints.up.ports import ListenAddressUnusable, choose
from iotistic.entrypoints.up.settings import UpSettings
from iotistic.kernel.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.create()
    return home


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.enable_socket
def test_a_taken_port_gives_way_to_a_free_one_and_is_said(taken_port):
    chosen = choose(UpSettings(api_port=taken_port), {})["api"]

    assert chosen.moved
    assert chosen.port != taken_port


@pytest.mark.enable_socket
def test_an_address_that_this_machine_does_not_have_is_refused_by_its_name():
    with pytest.raises(ListenAddressUnusable, match=r"203\.0\.113\.9"):
        choose(UpSettings(listen_address="203.0.113.9"), {})


@pytest.mark.enable_socket
def test_no_port_is_given_twice():
    chosen = choose(UpSettings(api_port=0, pki_port=0, mqtt_port=0), {})

    assert len({choice.port for choice in chosen.values()}) == len(chosen)


@pytest.mark.enable_socket
def test_a_remembered_port_wins_over_the_default_but_not_over_one_that_was_set(taken_port):
    free = choose(UpSettings(api_port=0), {})["api"].port

    assert choose(UpSettings(), {"api": free})["api"].wanted == free
    assert choose(UpSettings(api_port=free), {"api": taken_port})["api"].wanted == free


@pytest.mark.enable_socket
def test_addresses_of_metrics_hold_still_between_starts():
    first = choose(UpSettings(workers=2), {})
    numbers = {name: choice.port for name, choice in first.items()}

    second = choose(UpSettings(workers=2), numbers)
    observed = ("up", "maintenance", "ingest-0", "ingest-1", "ingest-backlog-0")
    assert {name: second[name].port for name in observed} == {name: numbers[name] for name in observed}


def test_a_damaged_memory_counts_as_none(home):
    (home.path / "up.json").write_text("{ half a li")

    assert memory.recall(home) == Memory()


def test_what_one_start_remembers_the_next_one_knows(home):
    memory.remember(home, Memory({"api": 3002}, workers=3))

    assert memory.recall(home) == Memory({"api": 3002}, workers=3)


def test_a_second_start_on_the_same_home_is_refused_with_the_holders_number(home):
    with lock.held(home), pytest.raises(lock.AlreadyRunning, match=r"process \d+"), lock.held(home):
        pass


def test_a_follower_gives_whole_lines_once_and_starts_over_when_the_file_was_cut(tmp_path):
    path = tmp_path / "a.log"
    path.write_text("old\n")
    follower = Follower(path)

    path.write_text("old\nnew\nhal")
    first = follower.lines()
    path.write_text("old\nnew\nhalf\n")
    second = follower.lines()
    path.write_text("cut\n")
    third = follower.lines()

    assert (first, second, third, follower.lines()) == (["new"], ["half"], ["cut"], [])
