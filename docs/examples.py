"""Put what every command prints into the documents: `make examples`. A test runs the commands again and compares.

A fenced block whose lines begin with `$ gambrel` is an example. The blocks of a page run in their order, in an empty folder
that holds the files which the page shows. Before a block, `<!-- shown: 1-12 20 -->` says which lines of the output of
its last command are printed, `<!-- shown: nothing -->` that none is; without it, all are, of a long output the first. What
commands before the last print is shown where it is short.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100
LONGEST, SHORTENED = 48, 24  # lines of an output that a page shows whole, and of one that it does not
BETWEEN = 12  # lines of an output that is shown although another command follows in the block
FILE = re.compile(r"^`([^`]+)`\n\n```(?:yaml|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(
    r"(?:^<!-- shown: ([^\n]*) -->\n)?^```(console|text|)\n(\$ gambrel .*?)^```", re.MULTILINE | re.DOTALL
)
BARS = re.compile("[▏▎▍▌▋▊▉█░▐]+")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
ELAPSED = re.compile(r"\bin [\d.,]+ (?:m?s|min)\b|\([\d.,]+ (?:m?s|min)\)")


def pages() -> list[Path]:
    """Documents with examples."""
    return [path for path in sorted((ROOT / "docs").rglob("*.md")) if BLOCK.search(path.read_text(encoding="utf-8"))]


def printed(command: str) -> str:
    """What a command (without `gambrel`) prints on a screen 100 columns wide. Raises RuntimeError for an error."""
    from sim.app.cli import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(shlex.split(command))
    if code not in (0, 1) or not out.getvalue().strip():
        raise RuntimeError(f"gambrel {command}: exit code {code}: {err.getvalue()}")
    return "\n".join(line.rstrip() for line in out.getvalue().strip("\n").splitlines())


def excerpt(output: str, shown: str | None) -> str:
    """The lines of an output that a page shows; `...` stands for those between."""
    lines = output.splitlines()
    if shown is None:
        shown = f"1-{len(lines) if len(lines) <= LONGEST else SHORTENED}"
    kept: list[str] = []
    last = 0
    for part in [] if shown == "nothing" else shown.split():
        first, _, end = part.partition("-")
        kept += ["..."] if int(first) > last + 1 else []
        last = min(int(end or first), len(lines))
        kept += lines[int(first) - 1 : last]
    return "\n".join([*kept, *(["..."] if kept and last < len(lines) else [])])


def rewritten(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Run a page's examples in the working folder. Yields each block with its new contents."""
    for name, content in FILE.findall(text):
        Path(name).write_text(content, encoding="utf-8")
    os.environ["COLUMNS"] = str(WIDTH)
    for block in BLOCK.finditer(text):
        commands = [line for line in block[3].splitlines() if line.startswith("$ gambrel ")]
        lines: list[str] = []
        for place, command in enumerate(commands):
            output = printed(command.removeprefix("$ gambrel "))
            last = place == len(commands) - 1
            shown = excerpt(output, block[1]) if last else output if output.count("\n") < BETWEEN else ""
            lines += [command, *([shown] if shown else [])]
        yield block, "\n".join(lines) + "\n"


def alike(shown: str, now: str, within: float = 0.02) -> bool:
    """True if two outputs say the same: the same words, and numbers within a fiftieth. Bars and elapsed times do not count."""
    words = [BARS.sub("", ELAPSED.sub("", text)).split() for text in (shown, now)]
    rules = [[word for word in line if not set(word) <= {"─"}] for line in words]
    return len(rules[0]) == len(rules[1]) and all(_alike(a, b, within) for a, b in zip(*rules, strict=True))


def _alike(shown: str, now: str, within: float) -> bool:
    if shown == now:
        return True
    numbers = [[float(x.replace(",", "")) for x in NUMBER.findall(word)] for word in (shown, now)]
    if NUMBER.sub("#", shown) != NUMBER.sub("#", now) or not numbers[0]:
        return False
    return all(abs(a - b) <= within * max(abs(a), abs(b)) for a, b in zip(*numbers, strict=True))


def main(names: list[str]) -> None:
    """Rewrite the named documents, or all."""
    for path in [Path(name).resolve() for name in names] or pages():
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            sys.path.append(folder)  # as the command itself does
            for block, content in list(rewritten(text)):
                text = text.replace(block[0], block[0].replace(block[3], content))
            sys.path.remove(folder)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
