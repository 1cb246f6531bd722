"""The command line `iotistic`: finds the command, and turns what goes wrong into a message and a code.

    iotistic COMMAND ...            a person's command, parsed by cyclopts, loaded when used
    python -m iotistic PROCESS ...  a long-running process of the installation; settings by environment

This is the one error edge: commands raise kernel errors and return None, or an exit code.
"""

import difflib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.lean import collecting_nothing, load_structlog_alone
from iotistic.entrypoints.misuse import told
from iotistic.kernel.errors import Invalid, IotisticError, Unavailable

if TYPE_CHECKING:
    from cyclopts import App

_INTERRUPTED = 130
_TRAINING = {"jax", "optax"}
_PIPE_CLOSED = 141  # what a shell reports for a program ended by SIGPIPE


class UsageInvalid(Invalid):
    """The command line cannot be understood."""

    code = "usage.invalid"


class PartMissing(Unavailable):
    """A part of the software that this command needs is not installed."""

    code = "install.part_missing"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit the process with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    never_fail_to_print()
    try:
        code = _dispatch(arguments)
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


def never_fail_to_print() -> None:
    """Let a terminal without the character for ° or ▁ show a question mark instead of a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in {"strict", "surrogateescape"}:
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")


def report(error: IotisticError, *, as_json: bool) -> None:
    """Write an error to standard error: a message and what to do next, or one JSON object."""
    if as_json:
        sys.stderr.write(json.dumps({"error": error.as_dict()}, default=str) + "\n")
        return
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  fix: {error.hint}\n")


def _dispatch(arguments: list[str]) -> int:
    match arguments:
        case [] | ["--help" | "-h" | "help"]:
            sys.stdout.write(catalogue.overview() + "\n")
            return 0
        case ["--version"]:
            sys.stdout.write(catalogue.version() + "\n")
            return 0
        case [name, *rest] if name in catalogue.PROCESSES:
            return _run_process(name, rest)
        case _:
            with told(arguments):
                return _run_command(arguments)


def _run_process(name: str, rest: list[str]) -> int:
    """Run a process' `main()`; its own options, where it has any, are left in `sys.argv`."""
    sys.argv = [f"iotistic {name}", *rest]
    try:
        with collecting_nothing():
            load_structlog_alone()
            module = importlib.import_module(catalogue.PROCESSES[name])
    except ModuleNotFoundError as exc:
        raise _part_missing(exc) from exc
    start: Callable[[], None] = module.main
    start()
    return 0


def _run_command(arguments: list[str]) -> int:
    with collecting_nothing():
        from cyclopts import CycloptsError  # noqa: PLC0415  loading it takes 200 ms, which processes are spared

    name = _known_command(arguments[0])
    try:
        with collecting_nothing():
            load_structlog_alone()
            importlib.import_module(catalogue.module_of(name))
        result = build_app()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as exc:
        command = " ".join(exc.command_chain or (name,))
        raise UsageInvalid(str(exc).strip(), hint=f"see `iotistic {command} --help`") from exc
    except ImportError as exc:
        cause = exc if isinstance(exc, ModuleNotFoundError) else exc.__cause__
        if not isinstance(cause, ModuleNotFoundError):
            raise
        raise _part_missing(cause) from exc
    return result if isinstance(result, int) else 0


def _known_command(name: str) -> str:
    known = [command.name for command in catalogue.COMMANDS]
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean `iotistic {close[0]}`?" if close else "see `iotistic --help`"
    raise UsageInvalid(f"there is no command {name!r}", hint=hint)


def _part_missing(exc: ModuleNotFoundError) -> PartMissing:
    ours = (exc.name or "").startswith("iotistic.")
    extra = "train" if (exc.name or "").partition(".")[0] in _TRAINING else "server"
    return PartMissing(
        f"the module {exc.name} is not installed",
        hint="this build does not have it" if ours else f"install it: pip install 'iotistic[{extra}]'",
        module=exc.name,
    )


def build_app() -> "App":
    """Return the cyclopts app with every command registered and none of them imported yet."""
    from cyclopts import App  # noqa: PLC0415  loading it takes 200 ms, which processes are spared

    app = App(
        name="iotistic",
        help="An open IoT platform, from the device to the invoice.",
        version=catalogue.version,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    for command in catalogue.COMMANDS:
        app.command(command.target, name=command.name, help=command.summary, group=command.group)
    return app
