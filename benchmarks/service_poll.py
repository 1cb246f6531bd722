"""A client that looks a service's name up for each request, 50 times a second, until its input ends.

    python service_poll.py NAME PORT          run inside a container's network; prints one JSON object

It asks Docker's name server itself: in there is no system around it. An address is used as long as the one
request that it was looked up for.
"""

import collections
import json
import random
import select
import socket
import struct
import sys
import time

_EVERY_S, _TIMEOUT_S = 0.02, 3.0
_NAME_SERVER = ("127.0.0.11", 53)


def look_up(name: str) -> str:
    """Return the first address that the name server says. Raises OSError when it knows none."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    query = struct.pack(">6H", random.randrange(65536), 0x100, 1, 0, 0, 0) + question
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_TIMEOUT_S)
        asking.sendto(query, _NAME_SERVER)
        answer = asking.recv(512)
    (count,) = struct.unpack_from(">H", answer, 6)
    if not count:
        raise OSError("the name is not known")
    size = (len(answer) - len(query)) // count
    end = len(query) + size
    return socket.inet_ntoa(answer[end - 4 : end])


def ask(name: str, port: int) -> str:
    """Return what the service says."""
    with socket.create_connection((look_up(name), port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while part := connection.recv(4096):
            answer += part
    return answer.rpartition(b"\r\n\r\n")[2].decode().strip()


def main() -> None:
    """Ask until the input ends."""
    name, port = sys.argv[1], int(sys.argv[2])
    answers: collections.Counter[str] = collections.Counter()
    failures: collections.Counter[str] = collections.Counter()
    longest_s = 0.0
    print("ready", flush=True)
    while True:
        began = time.monotonic()
        try:
            answers[ask(name, port)] += 1
        except OSError as exc:
            failures[f"{type(exc).__name__}: {exc}"] += 1
        took_s = time.monotonic() - began
        longest_s = max(longest_s, took_s)
        if select.select([sys.stdin], [], [], max(0.0, _EVERY_S - took_s))[0]:
            break
    print(json.dumps({"answers": answers, "failures": failures, "longest_s": round(longest_s, 3)}))


if __name__ == "__main__":
    main()
