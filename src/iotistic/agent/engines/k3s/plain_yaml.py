"""The YAML that kubeconfigs are written in: mappings, lists, and texts on one line. JSON is read too.

A YAML library would be the agent's only use of one. What goes beyond is refused with its line, never guessed:
anchors, tags, texts over several lines, several documents.
"""

import json
import re
from typing import NamedTuple

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_KEY = re.compile(
    r"""("[^"\\]*"|'[^']*'|[^\s"'#\[\]{}&*!|>%@`,:-][^#:]*?|[^\s"'#:]*[^\s"'#:,\[\]{}]):(?:\s+(.*))?$"""
)
_NOT_PLAIN = tuple("&*!|>%@`{[?")
_COMMENT = re.compile(r"\s+#.*$")


class _Line(NamedTuple):
    number: int
    indent: int
    text: str


def read_yaml(text: str) -> Value:
    """Return what a document says. Raises ValueError with the line that is not understood."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    lines = [*_lines(text)]
    if not lines:
        return None
    value, end = _block(lines, 0, lines[0].indent)
    if end < len(lines):
        raise _strange(lines[end])
    return value


def _lines(text: str) -> list[_Line]:
    found: list[_Line] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.strip()
        if not content or content.startswith("#") or (content == "---" and not found):
            continue
        indent = len(line) - len(line.lstrip(" "))
        if "\t" in line[: indent + 1]:
            raise ValueError(f"line {number}: tabs are no indentation")
        found.append(_Line(number, indent, content))
    return found


def _block(lines: list[_Line], at: int, indent: int) -> tuple[Value, int]:
    """Return the list or mapping that begins at a line, and where the next thing begins."""
    if _is_entry(lines[at].text):
        return _list(lines, at, indent)
    return _mapping(lines, at, indent)


def _list(lines: list[_Line], at: int, indent: int) -> tuple[Value, int]:
    found: list[Value] = []
    while at < len(lines) and lines[at].indent == indent and _is_entry(lines[at].text):
        line = lines[at]
        rest = line.text[1:].strip()
        inner = indent + len(line.text) - len(rest)
        if rest and (_is_entry(rest) or _KEY.match(rest)):
            lines[at] = _Line(line.number, inner, rest)
            value, at = _block(lines, at, inner)
            found.append(value)
        elif rest:
            found.append(_scalar(line, rest))
            at += 1
        else:
            value, at = _below(lines, at, indent)
            found.append(value)
    return found, at


def _mapping(lines: list[_Line], at: int, indent: int) -> tuple[Value, int]:
    found: dict[str, Value] = {}
    while at < len(lines) and lines[at].indent == indent and not _is_entry(lines[at].text):
        line = lines[at]
        pair = _KEY.match(line.text)
        if pair is None:
            raise _strange(line)
        name = pair[1].strip("\"'")
        if name in found:
            raise ValueError(f"line {line.number}: {name} stands there twice")
        rest = _COMMENT.sub("", pair[2] or "") if not (pair[2] or "").startswith(('"', "'")) else pair[2]
        if rest and not rest.startswith("#"):
            found[name], at = _scalar(line, rest), at + 1
        else:
            found[name], at = _below(lines, at, indent)
    return found, at


def _below(lines: list[_Line], at: int, indent: int) -> tuple[Value, int]:
    """Return what stands below a line that ends with its name; a list may stand at the same indentation."""
    if at + 1 == len(lines):
        return None, at + 1
    following = lines[at + 1]
    is_list = following.indent == indent and _is_entry(following.text)
    if following.indent > indent or (is_list and not lines[at].text.startswith("-")):
        return _block(lines, at + 1, following.indent)
    return None, at + 1


def _is_entry(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _scalar(line: _Line, text: str) -> Value:
    if text in ("{}", "[]"):
        return {} if text == "{}" else []
    if text.startswith('"'):
        return _quoted(line, text)
    if text.startswith("'"):
        found = re.fullmatch(r"'((?:[^']|'')*)'(?:\s+#.*)?", text)
        if found is None:
            raise _strange(line)
        return found[1].replace("''", "'")
    if text.startswith(_NOT_PLAIN):
        raise _strange(line)
    return {"null": None, "~": None, "true": True, "false": False}.get(text, text)


def _quoted(line: _Line, text: str) -> str:
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except ValueError as exc:
        raise _strange(line) from exc
    if not isinstance(value, str) or not re.fullmatch(r"(?:\s+#.*)?", text[end:]):
        raise _strange(line)
    return value


def _strange(line: _Line) -> ValueError:
    return ValueError(f"line {line.number} is not understood")
