"""One root and five kinds of error, which say what a caller can do about it.

They are not HTTP codes: the same error reaches REST, MQTT, jobs and the command line, and each edge
has one table from kind to answer. The class docstring is the default message; `code` is stable and
may be relied on by programs; `fields` are safe to show to whoever made the request.
"""

from typing import ClassVar


class IotisticError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str | None = None, *, hint: str | None = None, **fields: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        self.fields = fields
        super().__init__(self.message)

    def as_dict(self) -> dict[str, object]:
        """Return the JSON shape shared by the API, the logs and `--json` output."""
        answer: dict[str, object] = {"code": self.code, "message": self.message}
        if self.hint:
            answer["hint"] = self.hint
        return answer | self.fields


class Invalid(IotisticError):
    """The request cannot be understood or breaks a rule; the same request will fail again."""

    code = "invalid"
    exit_code = 2


class Denied(IotisticError):
    """The credential is missing, wrong, or does not allow this."""

    code = "denied"
    exit_code = 3


class NotFound(IotisticError):
    """There is no such thing."""

    code = "not_found"
    exit_code = 4


class Conflict(IotisticError):
    """The present state does not allow this; it may be allowed later."""

    code = "conflict"
    exit_code = 5


class Unavailable(IotisticError):
    """Something this depends on is away; try again."""

    code = "unavailable"
    exit_code = 6

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: float = 1.0,
        hint: str | None = None,
        **fields: object,
    ) -> None:
        super().__init__(message, hint=hint, **fields)
        self.retry_after_s = retry_after_s
