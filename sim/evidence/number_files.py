"""Catalogue files whose fitted numbers are written anew: only the numbers change, line by line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..catalog.files import write_whole
from ..errors import InputError


class Rewrite:
    """Changed lines of files under a catalogue's root, written together at the end."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._texts: dict[Path, str] = {}

    def put(self, file: str, pattern: str, line: str) -> None:
        """Replace the first line of devices/`file`.yaml that looks like the pattern. Raises InputError if there is none."""
        path = self.root / "devices" / f"{file}.yaml"
        text = self._texts.get(path) or path.read_text(encoding="utf-8")
        self._texts[path], found = re.subn(pattern, line, text, count=1, flags=re.MULTILINE)
        if not found:
            raise InputError(f"{path}: nothing there looks like {pattern!r}. Add the number by hand first.")

    def put_residuals(self, residuals: Mapping[str, Mapping[str, float]]) -> None:
        """The residuals of each stack, above its factors."""
        for stack, quantiles in residuals.items():
            said = ", ".join(f"{name}: {value:.4g}" for name, value in quantiles.items())
            self.put(f"stacks/{stack}", r"^(residuals: .*\n)?factors:$", f"residuals: {{{said}}}\nfactors:")

    def write(self) -> list[Path]:
        """Write what differs; returns those files."""
        changed = [path for path, text in self._texts.items() if text != path.read_text(encoding="utf-8")]
        for path in changed:
            write_whole(path, self._texts[path])
        return changed
