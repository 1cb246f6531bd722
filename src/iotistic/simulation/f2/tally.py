"""What a fleet counts while it runs."""

import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


def resident_bytes() -> int:
    """Return the memory of this process."""
    fields = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kib = next(int(line.split()[1]) for line in fields if line.startswith("VmRSS:"))
    return kib * 1024


@dataclass
class Tally:
    """Counts since the start. A message is published when it is promised, acknowledged when the broker took it.

    `kept_back` are those that wait now, of what was measured while connections were away; of them, so many
    messages were `granted`, so many requests `put_off`, and so many messages have `caught_up`.
    `lane_refused` the broker did not take below `backlog/`.
    """

    controllers: int = 0
    enrolled: int = 0
    reused: int = 0
    connected: int = 0
    connects: int = 0
    reconnects: int = 0
    published: int = 0
    acknowledged: int = 0
    skipped: int = 0
    commands: int = 0
    confirmed: int = 0
    receipts: int = 0
    resend_requests: int = 0
    resent: int = 0
    kept_back: int = 0
    asked: int = 0
    granted: int = 0
    put_off: int = 0
    lane_refused: int = 0
    caught_up: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])
    commands_refused: Counter[str] = field(default_factory=Counter[str])
    connection_failures: Counter[str] = field(default_factory=Counter[str])
    last_failure: str | None = None
    started_at: float = field(default_factory=time.monotonic)
    connecting_since: float | None = None
    all_connected_s: float | None = None
    memory_before: int = field(default_factory=resident_bytes)

    def connected_one(self, *, again: bool) -> None:
        """A device came online."""
        self.connected += 1
        self.connects += not again
        self.reconnects += again
        if self.connects == self.controllers and self.all_connected_s is None:
            self.all_connected_s = time.monotonic() - (self.connecting_since or self.started_at)

    @property
    def unacknowledged(self) -> int:
        """Promised, and not answered yet."""
        return self.published - self.acknowledged - self.refused.total()

    def line(self) -> str:
        """Return the counts in one line, for people."""
        told = (
            f"{self.connected}/{self.controllers} connected, {self.published} published, "
            f"{self.acknowledged} acknowledged, {self.refused.total()} refused, {self.reconnects} reconnects"
        )
        told += f", {self.skipped} skipped" if self.skipped else ""
        told += f", {self.commands} commands" if self.commands else ""
        told += f", {self.resent} sent again" if self.resent else ""
        if self.kept_back or self.caught_up:
            told += f", {self.kept_back} kept back, {self.granted} granted, {self.caught_up} caught up"
        failed = self.connection_failures.total()
        return told + (f"; {failed} connections failed, last: {self.last_failure}" if failed else "")

    def summary(self) -> dict[str, object]:
        """Return everything, for `--json`: sizes in bytes, durations in seconds."""
        duration_s = time.monotonic() - self.started_at
        memory = resident_bytes()
        connect_s = self.all_connected_s
        return {
            "controllers": self.controllers,
            "enrolled": self.enrolled,
            "reused": self.reused,
            "connected": self.connected,
            "connect_s": connect_s and round(connect_s, 3),
            "connects_per_s": round(self.controllers / connect_s, 1) if connect_s else None,
            "reconnects": self.reconnects,
            "connection_failures": dict(self.connection_failures),
            "published": self.published,
            "acknowledged": self.acknowledged,
            "unacknowledged": self.unacknowledged,
            "skipped": self.skipped,
            "refused": dict(self.refused),
            "confirmed": self.confirmed,
            "receipts": self.receipts,
            "resend_requests": self.resend_requests,
            "resent": self.resent,
            "kept_back": self.kept_back,
            "backlog_asked": self.asked,
            "backlog_granted": self.granted,
            "backlog_put_off": self.put_off,
            "backlog_refused": self.lane_refused,
            "caught_up": self.caught_up,
            "commands": self.commands,
            "commands_refused": dict(self.commands_refused),
            "duration_s": round(duration_s, 3),
            "acknowledged_per_s": round(self.acknowledged / duration_s, 1) if duration_s else None,
            "memory_bytes": memory,
            "memory_per_controller_bytes": (memory - self.memory_before) // max(1, self.controllers),
        }
