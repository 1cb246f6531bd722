"""uvicorn's protocol on the parser in C, with the bound on a request's head that this parser does not have."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HEAD = 64 * 1024  # bytes; as much as uvicorn's other parser takes


class LeanHttpProtocol(HttpToolsProtocol):
    """Refuses (400) a request whose first line and headers come to more than about 64 KiB."""

    _heads = 0
    _head_bytes = 0
    _is_in_head = True

    def data_received(self, data: bytes) -> None:
        """Take what came; pieces that hold nothing but an unfinished head are added up."""
        heads, was_in_head = self._heads, self._is_in_head
        super().data_received(data)
        if was_in_head and self._is_in_head and self._heads == heads:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD and not self.transport.is_closing():
                self.send_400_response("Invalid HTTP request received.")

    def on_headers_complete(self) -> None:
        """Note that the head is over; bodies have a limit of their own."""
        self._heads += 1
        self._is_in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the next head."""
        self._is_in_head = True
        super().on_message_complete()
