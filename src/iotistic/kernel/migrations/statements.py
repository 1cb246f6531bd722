"""Cuts a `.sql` file into its statements, so that an error can name the line and the statement.

A statement ends at a semicolon outside of quotes, dollar quotes, comments, parentheses and SQL-standard
function bodies (`BEGIN ATOMIC … END`). Nothing is lost: the pieces put together are the file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<comment>--[^\n]*)
    | (?P<block>/\*)
    | (?P<escaped>\b[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z))
    | (?P<quoted>'(?:[^']|'')*(?:'|\Z))
    | (?P<named>"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<mark>[;()])
    | (?P<space>\s+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_SILENT = {"comment", "block", "space"}
_TRANSACTION_CONTROL = {
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "prepare",
}


@dataclass(frozen=True)
class Statement:
    """One statement: its text, and the line of the file (from 1) that its first word stands on."""

    text: str
    line: int

    @property
    def controls_transaction(self) -> bool:
        """Say whether it would end or nest the transaction that the runner opened."""
        words = (found.group().lower() for kind, found in _tokens(self.text) if kind == "word")
        return next(words, "") in _TRANSACTION_CONTROL

    def line_at(self, position: int) -> int:
        """Return the file's line of the character `position` (from 1) of this statement, as errors count."""
        return self.line + self.text.count("\n", 0, max(position - 1, 0))


def split(sql: str) -> list[Statement]:
    """Return the statements of `sql` in order, without the comments before them."""
    return [Statement(sql[start:end], sql.count("\n", 0, start) + 1) for start, end in _spans(sql)]


def _spans(sql: str) -> Iterator[tuple[int, int]]:
    start: int | None = None
    parentheses = bodies = 0
    previous = ""
    end = 0
    for kind, found in _tokens(sql):
        if kind in _SILENT:
            continue
        text = found.group().lower()
        if text == ";" and parentheses <= 0 and bodies == 0:
            if start is not None:
                yield start, found.end()
            start, parentheses = None, 0
            continue
        if start is None:
            start = found.start()
        end = _end_of(sql, kind, found)
        parentheses += {"(": 1, ")": -1}.get(text, 0)
        bodies = _body_depth(bodies, previous, text)
        previous = text if kind == "word" else previous
    if start is not None:
        yield start, end


def _body_depth(depth: int, previous: str, word: str) -> int:
    """Count `BEGIN ATOMIC` and, inside of one, `CASE` as opened by their word and closed by `END`."""
    if word == "atomic" and previous == "begin":
        return depth + 1
    if depth and word == "case":
        return depth + 1
    if depth and word == "end":
        return depth - 1
    return depth


def _tokens(sql: str) -> Iterator[tuple[str, re.Match[str]]]:
    position = 0
    while found := _TOKEN.match(sql, position):
        kind = found.lastgroup or "other"
        kind = "dollar" if kind == "tag" else kind
        yield kind, found
        position = _end_of(sql, kind, found)


def _end_of(sql: str, kind: str, found: re.Match[str]) -> int:
    if kind == "block":
        return _block_end(sql, found.end())
    if kind == "dollar":
        closing = sql.find(found.group(), found.end())
        return len(sql) if closing < 0 else closing + len(found.group())
    return found.end()


def _block_end(sql: str, position: int) -> int:
    depth = 1
    while depth and (edge := _BLOCK_EDGE.search(sql, position)):
        depth += 1 if edge.group() == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position
