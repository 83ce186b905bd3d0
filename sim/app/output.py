"""What a command writes: its result to stdout, progress to stderr, files to --out."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..catalog.files import write_whole
from ..errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from ..catalog.library import Library

SHOWN_AFTER_S = 1.0
PIPED_WIDTH = 120


class Call(NamedTuple):
    """What every command takes."""

    json: bool = False
    out: Path | None = None
    seed: int | None = None
    catalog: Path | None = None

    def library(self) -> Library:
        from ..catalog.library import Library

        return Library(self.catalog)


def console() -> Console:
    """Standard output: as wide as the terminal; plain and 120 wide (or COLUMNS) when piped."""
    from rich.console import Console

    width = None
    if not sys.stdout.isatty():
        width = int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else PIPED_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, soft_wrap=False)


def emit(
    call: Call, document: Mapping[str, Any], screen: RenderableType, files: Mapping[str, str | bytes] | None = None
) -> None:
    """Print the answer once: one JSON object with --json, else the screen; write the files of --out.

    Raises InputError if a file cannot be written.
    """
    text = json.dumps(document, indent=2, allow_nan=False)
    if call.out is not None:
        written = {"result.json": text + "\n", **(files or {})}
        write_files(call.out, written)
    if call.json:
        print(text)
        return
    if isinstance(screen, str):  # as it is: JSON and file names are not wrapped
        print(screen)
    else:
        screens = console()
        screens.print(screen, soft_wrap=not screens.is_terminal)  # in a pipe what is typed again stays whole
    if call.out is not None:
        print(f"files: {', '.join(str(call.out / name) for name in written)}")


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write each file whole. Raises InputError for a place that cannot be written."""
    for name, content in files.items():
        try:
            write_whole(folder / name, content)
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be written ({error.strerror}). Choose another place.") from None


class Progress:
    """A progress bar on stderr that shows itself only once the work has lasted a second, and leaves nothing behind.

    Called as progress(share done, what). With stderr not a terminal it stays silent.
    """

    def __init__(self) -> None:
        self.begin_s = time.monotonic()
        self.bar: Bar | None = None
        self.task: TaskID | None = None

    def __call__(self, share: float, what: str = "") -> None:
        if self.bar is None:
            if time.monotonic() - self.begin_s < SHOWN_AFTER_S or not sys.stderr.isatty():
                return
            self._show()
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=share, description=what)

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self.task = self.bar.add_task("", total=1.0)
        self.bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
