"""`iotistic dead-letters`."""

import sys
from typing import Annotated

from cyclopts import App, Parameter

from iotistic.entrypoints.commands.options import AsJson
from iotistic.entrypoints.installation import connect
from iotistic.entrypoints.output import emit
from iotistic.kernel.errors import Invalid
from iotistic.telemetry.dead_letters.schemas import (
    Deleted,
    Letter,
    LetterCounts,
    LetterPage,
    LetterSummary,
    Replayed,
    State,
)

app = App(
    name="dead-letters", help="List, show, replay or purge what could not be stored.", help_format="plaintext"
)

_PATH = "/telemetry/dead-letters"
_PAGE = 1000
_COLUMNS = ("id", "received_at", "reason", "topic", "payload_bytes", "detail")

Flag = Parameter(negative="")


class SelectionUnclear(Invalid):
    """Say which dead letters are meant."""

    code = "dead_letters.selection_unclear"


@app.default
@app.command
def summary(*, json: AsJson = False) -> None:
    """Count what could not be stored, by reason."""
    counts = connect().get(f"{_PATH}/summary", LetterCounts)
    emit(counts if json else counts.items, json=json, empty="no dead letters")


@app.command(name="list")
def list_letters(
    *,
    reason: str | None = None,
    since: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    state: State = State.OPEN,
    limit: int = 100,
    json: AsJson = False,
) -> None:
    """List what could not be stored, newest first.

    Parameters
    ----------
    reason
        Only those with this reason code.
    since
        Only those received at or after this: an age such as -2h, or an ISO 8601 time.
    state
        open, replayed or all.
    limit
        Most to list.
    """
    api = connect()
    found: list[LetterSummary] = []
    cursor: str | None = None
    while len(found) < limit:
        page = api.get(
            _PATH,
            LetterPage,
            reason=reason,
            since=since,
            state=state,
            limit=min(_PAGE, limit - len(found)),
            cursor=cursor,
        )
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    emit(found, json=json, columns=_COLUMNS, empty="no dead letters")


@app.command
def show(letter: int, *, json: AsJson = False) -> None:
    """Show one message whole.

    Parameters
    ----------
    letter
        Its id.
    """
    emit(connect().get(f"{_PATH}/{letter}", Letter), json=json)


@app.command
def replay(
    letters: list[int] | None = None,
    /,
    *,
    reason: str | None = None,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    json: AsJson = False,
) -> None:
    """Publish messages again, once the cause is mended.

    Parameters
    ----------
    letters
        Ids.
    reason
        Every open one with this reason code.
    every
        Every open one.
    """
    selection = _selection(letters, reason, every=every)
    emit(connect().post(f"{_PATH}/replay", Replayed, selection), json=json)


@app.command
def purge(
    letters: list[int] | None = None,
    /,
    *,
    reason: str | None = None,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    yes: Annotated[bool, Flag] = False,
    json: AsJson = False,
) -> None:
    """Delete messages for good.

    Parameters
    ----------
    letters
        Ids.
    reason
        Every one with this reason code.
    every
        Every one, replayed ones too.
    yes
        Do not ask.
    """
    selection = _selection(letters, reason, every=every)
    if not yes:
        _confirm()
    emit(connect().delete(_PATH, Deleted, **selection), json=json)


def _selection(letters: list[int] | None, reason: str | None, *, every: bool) -> dict[str, object]:
    given: dict[str, object] = {"ids": letters, "reason": reason, "all": every or None}
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) != 1:
        raise SelectionUnclear(hint="give ids, or --reason CODE, or --all")
    return chosen


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise SelectionUnclear("deleting for good needs --yes when nobody can be asked", hint="add --yes")
    if input("delete for good? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise SelectionUnclear("nothing was deleted")
