"""Lines of logs as iotctl shows them: whoever wrote them has no say over the terminal."""

import json

import pytest

from iotistic.entrypoints.iotctl.logs import as_json, printable

CLEARS = "\x1b[2J\x1b]0;title\x07"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (CLEARS + "hé €\t😀\u200d☕\u3000\xa0", r"\x1b[2J\x1b]0;title\x07" + "hé €\t😀\u200d☕\u3000\xa0"),
        ("a\rb\nc\x00\x7f", r"a\x0db\x0ac\x00\x7f"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("\u202eevil\u2069 \u2028", r"\u202eevil\u2069 \u2028"),
        ("half \ud83d", r"half \ud83d"),
    ],
)
def test_what_could_steer_a_terminal_is_shown_as_its_number(text, shown):
    assert printable(text) == shown
    shown.encode()


@pytest.mark.parametrize(
    "text", [CLEARS, "a\nb\tc", "\x9b31m \x7f", "\u202e \u2028", "half \ud83d", "\\u001b"]
)
def test_json_says_the_same_and_steers_nothing(text):
    written = as_json({"message": text, "serviceName": text})

    assert json.loads(written) == {"message": text, "serviceName": text}
    assert printable(written) == written
    assert "\n" not in written
    written.encode()
