"""The command line `iotctl`: finds the verb, and turns what goes wrong into a message and a code.

Messages, `--json` and exit codes are those of `iotistic` (docs/reference/cli.md).
"""

import difflib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from iotistic.entrypoints.cli import PartMissing, UsageInvalid, never_fail_to_print, report
from iotistic.entrypoints.lean import collecting_nothing
from iotistic.entrypoints.misuse import check_text
from iotistic.kernel.errors import IotisticError

_INTERRUPTED = 130
_PIPE_CLOSED = 141
_ALIKE = 0.75  # "strat" is start, "pause" is not purge


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and exit the process with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    never_fail_to_print()
    try:
        check_text(arguments)  # none of them names a file
        code = _run(arguments)
        sys.stdout.flush()
    except IotisticError as exc:
        report(exc, as_json="--json" in arguments)
        code = exc.exit_code
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _PIPE_CLOSED
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        with collecting_nothing():
            from cyclopts import CycloptsError, UnusedCliTokensError  # noqa: PLC0415  what is not installed is to be told, not thrown

            from iotistic.entrypoints.iotctl.verbs import build_app  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        hint = "install it: pip install 'iotistic[agent]'"
        raise PartMissing(f"the module {exc.name} is not installed", hint=hint) from exc
    if not arguments or arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    try:
        result = build_app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except UnusedCliTokensError as exc:
        chain, verbs = exc.command_chain or (), [name for name in exc.app or () if not name.startswith("-")]
        raise _left_over(arguments, chain, verbs, exc.unused_tokens or ()) from exc
    except CycloptsError as exc:
        verb = " ".join(("iotctl", *(exc.command_chain or ())))
        raise UsageInvalid(str(exc).strip(), hint=f"see `{verb} --help`") from exc
    return result if isinstance(result, int) else 0


def _left_over(
    arguments: Sequence[str], chain: Sequence[str], verbs: Sequence[str], unused: Sequence[str]
) -> UsageInvalid:
    """Return what is wrong with words that nobody took: a verb is misspelt, or there are too many."""
    so_far = " ".join(("iotctl", *chain))
    word = next((one for one in arguments[len(chain) :] if not one.startswith("-")), "")
    if not verbs or word in verbs:
        return UsageInvalid(f"too many words: {' '.join(unused)}", hint=f"see `{so_far} --help`")
    close = difflib.get_close_matches(word, verbs, n=1, cutoff=_ALIKE)
    hint = f"did you mean `{so_far} {close[0]}`?" if close else f"there are {', '.join(verbs)}"
    return UsageInvalid(f"there is no `{so_far} {word}`", hint=hint)
