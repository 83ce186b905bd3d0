"""The three errors that a user may see; anything else is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MOST_LETTERS = 1000  # of a message: a value of a broken file may be as long as the file


class GambrelError(Exception):
    """One line that names the place, the value and the remedy. Of a longer text the middle is left out."""

    exit_code = 2

    def __init__(self, text: str) -> None:
        if len(text) > MOST_LETTERS:
            text = f"{text[: MOST_LETTERS // 2]} ... {text[-MOST_LETTERS // 3 :]}"
        super().__init__(" ".join(text.splitlines()))


class InputError(GambrelError):
    """Malformed or illegal input: exit code 2."""


class Infeasible(GambrelError):
    """Legal, but does not fit or meets no objective; the text says what binds and by how much: exit code 1."""

    exit_code = 1


class UnknownFigure(GambrelError):
    """A fact that nobody has published is needed; `key` names it. It becomes an `unknown` figure and stops nothing else."""

    exit_code = 1

    def __init__(self, key: str, remedy: str = "") -> None:
        self.key = key
        super().__init__(f"{key} is unknown. {remedy or f'Supply it with --set {key}=VALUE or in the file.'}")


def did_you_mean(name: str, known: Iterable[str], limit: int = 3) -> str:
    """'Did you mean a, b?' for a misspelt name, or the whole list when it is short and nothing is near."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name.lower(), names, n=limit, cutoff=0.5)
    if near:
        return f"Did you mean {', '.join(near)}?"
    return f"Known: {', '.join(names)}." if len(names) <= 24 else ""
