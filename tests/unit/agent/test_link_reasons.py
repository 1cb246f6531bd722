"""How it is said that a cloud does not answer."""

import errno
import socket

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from iotistic.agent.link.transport import reason_of

KEY = ConnectionKey("cloud.example", 443, True, True, None, None, None)


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 443)"), "connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "name or service not known"),
        (OSError("Multiple exceptions: no route"), "multiple exceptions: no route"),
    ],
)
def test_a_connection_that_is_not_made_is_told_in_the_words_of_the_system(exc, said):
    assert reason_of(aiohttp.ClientConnectorError(KEY, exc)) == said


def test_other_reasons_are_told_as_they_are():
    assert reason_of(TimeoutError()) == "it took too long"
    assert reason_of(aiohttp.ServerDisconnectedError()) == "Server disconnected"
