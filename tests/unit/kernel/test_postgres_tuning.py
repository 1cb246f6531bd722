from pathlib import Path

import pytest

from iotistic.kernel.postgres.tuning import configuration, memory_bytes, shared_memory_bytes

MIB = 1024 * 1024


def settings(*, memory=4096 * MIB, shared_memory=1024 * MIB, lz4=False, sockets=None):
    text = configuration(port=5433, sockets=sockets, memory=memory, shared_memory=shared_memory, lz4=lz4)
    lines = (line.split(" = ") for line in text.splitlines() if " = " in line)
    return {name: value.strip("'") for name, value in lines}


def test_whatever_the_machine_an_acknowledged_commit_is_on_the_disk():
    assert {settings()[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}


def test_the_server_listens_on_loopback_and_on_a_socket_file_where_one_can_be():
    folder = Path("/srv/home/engines/postgres/socket")

    assert settings()["listen_addresses"] == "127.0.0.1"
    assert settings()["unix_socket_directories"] == ""
    assert settings(sockets=folder)["unix_socket_directories"] == str(folder)


@pytest.mark.parametrize(
    ("memory", "buffers"), [(512 * MIB, "128MB"), (2048 * MIB, "512MB"), (65536 * MIB, "1024MB")]
)
def test_shared_buffers_are_a_quarter_of_the_memory_and_a_gigabyte_at_most(memory, buffers):
    assert settings(memory=memory)["shared_buffers"] == buffers


def test_a_container_with_a_small_shared_memory_folder_uses_files_instead():
    assert settings(shared_memory=64 * MIB)["dynamic_shared_memory_type"] == "mmap"
    assert settings()["dynamic_shared_memory_type"] == "posix"


def test_the_log_is_compressed_with_lz4_where_it_is_built_in():
    assert (settings(lz4=True)["wal_compression"], settings()["wal_compression"]) == ("lz4", "on")


def test_values_of_statements_stay_out_of_the_log():
    assert settings()["log_parameter_max_length"] == settings()["log_parameter_max_length_on_error"] == "0"


def test_the_machine_can_be_measured(tmp_path):
    assert memory_bytes() > 64 * MIB
    assert shared_memory_bytes(tmp_path) > 0
    assert shared_memory_bytes(tmp_path / "none") == 0
