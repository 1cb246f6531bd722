r"""A template: a target whose texts hold variables. Pure.

    {{device.name}}  {{tag.line}}  {{param.colour}}  {{tag.line|main}}  \{{not a variable}}

What stands behind the bar is taken where the device has no such value. A text that is nothing but one variable becomes
the value itself, so a parameter may be a number; whatever comes in is never looked through for variables again.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from iotistic.control.states.model import TargetInvalid, check_writable, checked
from iotistic.kernel.errors import Conflict, NotFound

Scalar = str | int | float | bool

DEVICE_FIELDS = ("uuid", "name", "type", "fleet", "number", "mac", "application")

_VARIABLE = re.compile(r"(\\?)\{\{(.*?)\}\}", re.DOTALL)
_NAMED = re.compile(r"(device|tag|param)\.([A-Za-z0-9][A-Za-z0-9_.-]{0,62})(?:\|(.*))?", re.DOTALL)
_DEEPEST = 60
_MOST_FAULTS = 50


class TemplateUnknown(NotFound):
    """There is no such template, or no such version of it."""

    code = "template.unknown"


class TemplateExists(Conflict):
    """There is a template of this name already."""

    code = "template.exists"


class TemplateChanged(Conflict):
    """The template was changed by somebody else in between."""

    code = "template.changed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """One version of a template. A parameter without a default (None) has to be given."""

    name: str
    description: str
    version: int
    newest: int
    is_default: bool
    content: Mapping[str, Any]
    parameters: Mapping[str, Scalar | None]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Values:
    """What variables stand for on one device."""

    device: Mapping[str, Scalar]
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    params: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])

    def find(self, kind: str, name: str) -> Scalar | None:
        """Return a value, None when there is none."""
        return {"device": self.device, "tag": self.tags, "param": self.params}[kind].get(name)


def check_template(content: Mapping[str, Any], parameters: Mapping[str, Scalar | None]) -> None:
    """Refuse variables that no device could fill, and, without variables, what is no target.

    Raises TargetInvalid, TargetTooLarge.
    """
    check_writable(content)
    faults: dict[str, str] = {}
    variables = list(_variables(content, faults))
    for path, kind, name in variables:
        if kind == "device" and name not in DEVICE_FIELDS:
            faults[path] = f"a device has no {name}; there are {', '.join(DEVICE_FIELDS)}"
        if kind == "param" and name not in parameters:
            faults[path] = f"there is no parameter {name}"
    _refuse(faults)
    if not variables:
        checked(content)


def filled(template: Template, values: Values) -> dict[str, Any]:
    """Return the target of one device, checked by the planner's reader. Raises TargetInvalid with each fault."""
    given = {name: value for name, value in template.parameters.items() if value is not None}
    unknown = sorted(set(values.params) - set(template.parameters))
    faults = {f"parameters.{name}": "is no parameter of this template" for name in unknown}
    known = Values(device=values.device, tags=values.tags, params={**given, **values.params})

    def fill(text: str, path: str) -> object:
        return _fill(text, known, lambda reason: faults.__setitem__(path, reason))

    content = _mapped(dict(template.content), fill, "", 0)
    _refuse(faults)
    return checked(cast("dict[str, Any]", content))


def _fill(text: str, values: Values, fault: Callable[[str], None]) -> object:
    whole = _VARIABLE.fullmatch(text)
    if whole is not None and not whole[1] and "{{" not in whole[2]:
        return _value(whole[2], values, fault)

    def put(found: re.Match[str]) -> str:
        if found[1]:
            return found[0][1:]
        value = _value(found[2], values, fault)
        return str(value).lower() if isinstance(value, bool) else str(value)

    return _VARIABLE.sub(put, text)


def _value(named: str, values: Values, fault: Callable[[str], None]) -> Scalar:
    read = _NAMED.fullmatch(named.strip())
    if read is None:
        fault(_NO_VARIABLE.format(named=named[:80]))
        return ""
    kind, name, default = read.groups()
    value = values.find(kind, name)
    if value is None or value == "":
        value = default
    if value is None:
        fault(f"{kind}.{name} has no value for this device, and there is no default behind a |")
        return ""
    return value


_NO_VARIABLE = (
    "{named!r} is no variable; write device.name, tag.KEY or param.NAME, or \\{{{{ for the braces alone"
)


def _variables(content: Mapping[str, Any], faults: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield every variable: (path, kind, name); what cannot be read becomes a fault."""
    found: list[tuple[str, str, str]] = []

    def look(text: str, path: str) -> object:
        for match in _VARIABLE.finditer(text):
            read = _NAMED.fullmatch(match[2].strip())
            if match[1]:
                continue
            if read is None:
                faults[path] = _NO_VARIABLE.format(named=match[2][:80])
            else:
                found.append((path, read[1], read[2]))
        return text

    _mapped(dict(content), look, "", 0)
    yield from found


def _mapped(value: object, change: Callable[[str, str], object], path: str, depth: int) -> object:
    """Return a value with every text in it changed; names of objects are left as they are."""
    if depth > _DEEPEST:
        raise TargetInvalid("it is nested too deeply", faults={path: "is nested too deeply"})
    if isinstance(value, str):
        return change(value, path)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {name: _mapped(one, change, f"{path}.{name}".strip("."), depth + 1) for name, one in items}
    if isinstance(value, list):
        entries = enumerate(cast("list[object]", value))
        return [_mapped(one, change, f"{path}[{index}]", depth + 1) for index, one in entries]
    return value


def _refuse(faults: Mapping[str, str]) -> None:
    if faults:
        named = dict(list(faults.items())[:_MOST_FAULTS])
        listed = "; ".join(f"{path}: {reason}" for path, reason in named.items())
        raise TargetInvalid(f"{len(faults)} fault(s): {listed}", faults=named)
