"""How much a line matters, by how it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotistic.agent.logs.entry import Level
from iotistic.agent.logs.level import LevelGuesser, level_named, stated

D, I, W, E = Level.DEBUG, Level.INFO, Level.WARN, Level.ERROR  # noqa: E741


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"level":"error","msg":"x"}', E),
        ('{"msg":"x","severity":"WARNING"}', W),
        ('{"level":30,"msg":"pino"}', I),
        ('{"level":50,"msg":"pino"}', E),
        ('{"level":20,"msg":"pino"}', D),
        ('{"severity":3,"msg":"syslog"}', E),
        ('{"levelname":"DEBUG"}', D),
        ('{"level":true}', None),
        ('{"level":"odd"}', None),
        ('{"broken', None),
        ("[" * 5000, None),
        ("{" * 5000, None),
        ("2026-11-21T12:00:00.123Z INFO starting", I),
        ("2026-11-21 12:00:00,123 - root - ERROR - it broke", E),
        ("12:00:00.123 [main] WARN  com.example.App - slow", W),
        ("[warn] 12:00 upstream timed out", W),
        ("2026/11/21 12:00:00 [error] 7#7: *1 open() failed", E),
        ("info: ready", I),
        ("Error: cannot find module", E),
        ("error - it broke", E),
        ("time=2026-11-21T12:00:00Z level=warn msg=slow", W),
        ('ts=1 lvl="debug" msg=x', D),
        ("E1121 12:00:00.000000       1 main.go:7] x", E),
        ("I1121 12:00:00.000000       1 main.go:7] x", I),
        ("<3>kernel: out of memory", E),
        ("<30>daemon: fine", I),
        ("\x1b[31mERROR\x1b[0m red", E),
        ("\x1b[32minfo\x1b[0m: green", I),
        ("Traceback (most recent call last):", E),
        ("ValueError: 5", E),
        ("java.lang.NullPointerException: x", E),
        ("panic: runtime error", E),
        ("CRITICAL boom", E),
        ("plain words", None),
        ("no error found", None),
        ("errors: 0", None),
        ("informed: yes", None),
        ("", None),
    ],
)
def test_levels_are_read_where_programs_write_them(text, level):
    assert LevelGuesser().guess(text, is_stderr=False) is (level or I)


def test_a_line_that_says_nothing_is_a_warning_on_stderr():
    guesser = LevelGuesser()

    assert guesser.guess("oh", is_stderr=True) is W
    assert guesser.guess("oh", is_stderr=False) is I


def test_a_line_that_goes_on_matters_as_the_one_before_of_its_stream():
    guesser = LevelGuesser()
    lines = [
        ("Traceback (most recent call last):", True),
        ("  File x", True),
        ("  on stdout", False),
        ("  y", True),
    ]

    assert [guesser.guess(text, is_stderr=is_stderr) for text, is_stderr in lines] == [E, E, I, E]


@given(st.text(max_size=300))
def test_any_line_has_a_level_or_none(text):
    assert stated(text) in (None, *Level)


@pytest.mark.parametrize("text", ["1.1" * 3000, "[" * 9000, "a." * 5000, "{" + '"a":' * 2000, " \t" * 4000])
def test_no_line_takes_long(text):
    guesser = LevelGuesser()
    for _ in range(200):  # a pattern that backtracks would take minutes
        guesser.guess(text, is_stderr=False)


@pytest.mark.parametrize(
    ("word", "level"), [("warning", W), ("WARN", W), ("fatal", E), ("debug", D), ("odd", None)]
)
def test_a_level_has_many_names(word, level):
    assert level_named(word) is level
