"""What is kept of a process's output: the beginning and the end, with how much was left out between them."""

_LONGEST_CHARACTER = 4


class KeptOutput:
    """One stream, in at most `limit_bytes` and as much again of working space. Bytes that are no text become �."""

    def __init__(self, limit_bytes: int) -> None:
        self._half = max(limit_bytes // 2, 1)
        self._head, self._tail = bytearray(), bytearray()
        self._newlines = 0
        self.total = 0
        """Bytes that came."""

    @property
    def lines(self) -> int:
        """Lines that came; the last one may be unfinished."""
        last = bytes((self._tail or self._head)[-1:])
        return self._newlines + (last not in (b"", b"\n"))

    @property
    def left_out(self) -> int:
        """Bytes that are not kept."""
        return self.total - len(self._head) - len(self._tail[-self._half :])

    def feed(self, chunk: bytes) -> None:
        """Take what came."""
        self.total += len(chunk)
        self._newlines += chunk.count(b"\n")
        room = self._half - len(self._head)
        self._head += chunk[:room]
        if len(chunk) > room:
            self._tail += chunk[max(room, len(chunk) - self._half) :]
            if len(self._tail) > 2 * self._half:
                del self._tail[: -self._half]

    def text(self) -> str:
        """Return what is kept as a text that JSON and databases take."""
        tail = bytes(self._tail[-self._half :])
        if not self.left_out:
            return _decoded(bytes(self._head) + tail)
        note = f"\n[... {self.left_out} bytes left out ...]\n"
        return _decoded(_without_cut_end(bytes(self._head))) + note + _decoded(_without_cut_start(tail))


def _decoded(kept: bytes) -> str:
    return kept.decode("utf-8", "replace").replace("\0", "\ufffd")


def _without_cut_end(kept: bytes) -> bytes:
    """Leave out a character whose end was cut off, and nothing else."""
    for back in range(1, min(_LONGEST_CHARACTER, len(kept)) + 1):
        byte = kept[-back]
        if byte & 0xC0 != 0x80:  # noqa: PLR2004  not a continuation: a character begins here
            width = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1  # noqa: PLR2004
            return kept[:-back] if width > back else kept
    return kept


def _without_cut_start(kept: bytes) -> bytes:
    start = 0
    while start < min(_LONGEST_CHARACTER - 1, len(kept)) and kept[start] & 0xC0 == 0x80:  # noqa: PLR2004
        start += 1
    return kept[start:]
