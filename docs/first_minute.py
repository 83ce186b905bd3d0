"""Put the real output of `gambrel demo` into README.md: `make readme`."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCK = re.compile(r"(?<=^```text\n)Gambrel .*?(?=^```)|(?<=^```text\n)FIRST MINUTE\n", re.MULTILINE | re.DOTALL)


def first_minute() -> str:
    """What `gambrel demo` prints in an empty folder, 110 columns wide."""
    from sim.app.cli import run

    os.environ["COLUMNS"] = "110"
    screen = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(screen):
        run(["demo"])
    return "\n".join(line.rstrip() for line in screen.getvalue().splitlines()) + "\n"


def main() -> None:
    """Replace the block."""
    text = README.read_text(encoding="utf-8")
    output = first_minute()
    README.write_text(BLOCK.sub(lambda match: output, text, count=1), encoding="utf-8")


if __name__ == "__main__":
    main()
