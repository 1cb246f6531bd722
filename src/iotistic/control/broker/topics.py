"""Topics and filters, exactly as MQTT (5.0, section 4.7) has them.

- `+` is one level, an empty one too; `#` is the rest, and the level above it as well: `a/#` matches `a`.
- Neither matches a first level that begins with `$`: `#` and `+/x` are silent about `$SYS`.
- Everything else is compared as it stands; nothing is a regular expression.
"""

from iotistic.kernel.errors import Invalid

_SHARED = "$share/"
_MOST_BYTES = 65_535
_WILDCARDS = ("+", "#")


class FilterInvalid(Invalid):
    """This is not a topic filter."""

    code = "mqtt.filter_invalid"


def check_filter(text: str) -> str:
    """Return a filter that MQTT allows. Raises FilterInvalid."""
    if not text or not text.isprintable() or len(text.encode("utf-8", "replace")) > _MOST_BYTES:
        raise FilterInvalid("a topic filter has one printable character or more")
    levels = text.split("/")
    if "#" in text and ("#" in "".join(levels[:-1]) or levels[-1] != "#"):
        raise FilterInvalid("# stands alone at the end of a filter", hint="write a/b/#")
    if any("+" in level and level != "+" for level in levels):
        raise FilterInvalid("+ stands for a whole level", hint="write a/+/b")
    return text


def is_topic(text: str) -> bool:
    """Whether something can be published to this."""
    return bool(text) and "\0" not in text and not any(sign in text for sign in _WILDCARDS)


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a message to `topic` is meant by `topic_filter`."""
    return is_topic(topic) and _includes(topic_filter.split("/"), topic.split("/"))


def covers(topic_filter: str, asked: str) -> bool:
    """Whether every topic that the filter `asked` means is meant by `topic_filter` too.

    A shared subscription (`$share/<group>/<filter>`) means what its filter means.
    """
    if asked.startswith(_SHARED):
        _share, group, asked = [*asked.split("/", 2), "", ""][:3]
        if not group or not asked:
            return False
    return _includes(topic_filter.split("/"), asked.split("/"))


def _includes(wide: list[str], narrow: list[str]) -> bool:
    # A wildcard in the narrow one is compared as the topics that it stands for.
    if wide[0] in _WILDCARDS and narrow[0].startswith("$"):
        return False
    for at, level in enumerate(wide):
        if level == "#":
            return True
        if at == len(narrow):
            return False
        if narrow[at] == "#" or (level != "+" and narrow[at] != level):
            return False
    return len(wide) == len(narrow)


def substitute(pattern: str, *, username: str, client_id: str) -> str | None:
    """Return a filter with %u and %c filled in; None when a name would bring wildcards or levels of its own."""
    for sign, name in (("%u", username), ("%c", client_id)):
        if sign not in pattern:
            continue
        if not name or any(mark in name for mark in ("/", *_WILDCARDS)):
            return None
        pattern = pattern.replace(sign, name)
    return pattern
