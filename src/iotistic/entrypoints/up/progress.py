"""What a person sees while the installation starts and stops: one line per step, on standard error.

On a terminal the line of a running step has a spinner and gets its time when done; elsewhere it is
printed once, when done.
"""

import asyncio
import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Progress:
    """Prints steps, notes and warnings."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Show `name` while the block runs, then how long it took."""
        began = time.monotonic()
        try:
            if self._console.is_terminal:
                with self._console.status(escape(name)):
                    yield
            else:
                yield
        except asyncio.CancelledError:
            self._console.print(f"  [yellow]stopped[/]  {escape(name)}")
            raise
        except BaseException:
            self._console.print(f"  [red]failed[/]  {escape(name)}")
            raise
        self._console.print(f"  [green]ok[/]  {escape(name)}  [dim]{time.monotonic() - began:.1f} s[/]")

    def note(self, text: str) -> None:
        """Say something worth knowing."""
        self._console.print(f"  [cyan]--[/]  {escape(text)}")

    def warn(self, text: str) -> None:
        """Say something that a person should look at."""
        self._console.print(f"  [bold red]!![/]  {escape(text)}")
