"""The configuration of the embedded server: durable always, sized after the machine, made for ingest."""

import os
from pathlib import Path

_MIB = 1024 * 1024
_SMALL_SHM = 256 * _MIB
_SHM = Path("/dev/shm")  # noqa: S108 - only its size is read
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_HEADER = "# Written at every start. For settings of your own use ALTER SYSTEM, which wins over this file.\n"

HOST_RULES = f"""{_HEADER}
# TYPE  DATABASE  USER  ADDRESS         METHOD
local   all       all                   scram-sha-256
host    all       all   127.0.0.1/32    scram-sha-256
"""


def memory_bytes() -> int:
    """Return the memory that this machine, or the control group we run in, has."""
    amounts = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in _CGROUP_LIMITS:
        try:
            amounts.append(int(limit.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or the word `max`
            continue
    return min(amounts)


def shared_memory_bytes(folder: Path = _SHM) -> int:
    """Return the size of the shared memory file system, 0 when there is none; containers get 64 MB."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return 0
    return found.f_frsize * found.f_blocks


def configuration(*, port: int, sockets: Path | None, memory: int, shared_memory: int, lz4: bool) -> str:
    """Return `postgresql.conf` for a machine with `memory` bytes. Works on PostgreSQL 14 and later.

    `sockets` is the folder of its socket (see sockets.py).
    """
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": str(sockets or ""),
        "max_connections": 100,
        "password_encryption": "scram-sha-256",
        # An acknowledged message is on the disk: these three stay as they are.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": _mb(min(memory // 4, 1024 * _MIB)),
        "effective_cache_size": _mb(memory // 2),
        "work_mem": _mb(min(max(memory // 512, 4 * _MIB), 32 * _MIB)),
        "maintenance_work_mem": _mb(min(max(memory // 32, 32 * _MIB), 256 * _MIB)),
        "dynamic_shared_memory_type": "posix" if shared_memory >= _SMALL_SHM else "mmap",
        # Rare checkpoints: each makes the next change of a page write the whole page to the log.
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": 0.9,
        "max_wal_size": "4GB",
        "min_wal_size": "512MB",
        "wal_buffers": "16MB",
        "wal_compression": "lz4" if lz4 else "on",
        "random_page_cost": 1.1,
        # Compiling a plan costs more than the short queries that we run.
        "jit": "off",
        # A query whose client was killed ends instead of working on for nobody.
        "client_connection_check_interval": "2s",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_line_prefix": "%m [%p] %a ",
        "log_min_duration_statement": "2s",
        # Values are customers' data and may be secrets: no log line holds them.
        "log_parameter_max_length": 0,
        "log_parameter_max_length_on_error": 0,
    }
    return _HEADER + "".join(f"{name} = '{value}'\n" for name, value in settings.items())


def _mb(amount: int) -> str:
    return f"{amount // _MIB}MB"
