"""Holds settings that another process has read and checked, in their classes, without pydantic.

The names are those of pydantic that groups of settings use, as far as they do not read: a field is an
attribute, and what is said of its limits is passed over. Nothing can be read or checked in such a process:
whoever tries gets a TypeError.
"""

from collections.abc import Callable, Iterable, Mapping
from inspect import get_annotations
from typing import Any, ClassVar, Self, TypeVar

T = TypeVar("T")


class Holding:
    """Whether this process only holds settings; asked once, when the first group is imported."""

    has_begun: ClassVar[bool] = False

    @classmethod
    def begin(cls) -> None:
        """Have groups of settings that are imported from now on do without pydantic."""
        cls.has_begun = True


class BaseModel:
    """A group of settings, or a process' own; made by `model_construct`."""

    model_fields: ClassVar[Mapping[str, object]] = {}
    """The names of all fields."""
    model_fields_set: frozenset[str]
    """Those that were said, and are not the default."""

    def __init_subclass__(cls, **_: object) -> None:
        """Gather the fields, of all groups that a class is made of."""
        super().__init_subclass__()
        of_groups = (getattr(group, "model_fields", {}) for group in reversed(cls.__mro__[1:]))
        own = [name for name in get_annotations(cls) if not name.startswith("model_")]
        cls.model_fields = dict.fromkeys(name for fields in (*of_groups, own) for name in fields)

    def __init__(self, **_: object) -> None:
        """Refuse to be read: nothing would be checked here."""
        raise TypeError(f"{type(self).__name__} is not read in a process that only holds settings")

    @classmethod
    def model_construct(cls, _fields_set: Iterable[str] | None = None, **values: Any) -> Self:
        """Return the settings with these values, which were checked; `_fields_set` are those that were said."""
        held = cls.__new__(cls)
        held.__dict__.update(values)
        held.__dict__["model_fields_set"] = frozenset(values if _fields_set is None else _fields_set)
        return held

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return the same settings with some values changed."""
        changed = dict(update or {})
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(changed)
        copy.__dict__["model_fields_set"] = self.model_fields_set | changed.keys()
        return copy

    def __setattr__(self, name: str, _value: object) -> None:
        """Refuse to change: settings are read once."""
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")


class SecretStr:
    """A text that prints as stars."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def get_secret_value(self) -> str:
        """Return the text."""
        return self._secret

    def __repr__(self) -> str:
        """Return stars, for an empty text nothing."""
        return f"SecretStr({str(self)!r})"

    def __str__(self) -> str:
        """Return stars, for an empty text nothing."""
        return "**********" if self._secret else ""

    def __eq__(self, other: object) -> bool:
        """Say whether both are the same text."""
        return isinstance(other, SecretStr) and other._secret == self._secret

    def __hash__(self) -> int:
        """Return what equal ones have in common."""
        return hash(self._secret)


class ByteSize(int):
    """A number of bytes."""


class ValidationError(ValueError):
    """Never raised here: nothing is checked."""


def ConfigDict(**rules: Any) -> dict[str, Any]:  # noqa: N802  pydantic's name
    """Return the rules of a class, which nobody looks at."""
    return rules


def Field(default: Any = None, **_rules: Any) -> Any:  # noqa: N802  pydantic's name
    """Return the default of a field."""
    return default


def field_validator(*_fields: str, **_rules: Any) -> Callable[[T], T]:
    """Return what leaves a check as it is."""
    return lambda check: check
