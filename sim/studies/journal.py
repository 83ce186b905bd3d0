"""The journal of a sweep: what is answered, keyed by scenario, in SQLite. Whatever stops the process, what was added stays whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import InputError
from .evaluate import KEY, Block
from .priced import Row

LAYOUT = 1  # of the tables below
_TABLES = """
CREATE TABLE IF NOT EXISTS about (layout INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, columns TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS answers (
  id INTEGER PRIMARY KEY, names INTEGER NOT NULL, keys BLOB NOT NULL, said TEXT NOT NULL, figures BLOB NOT NULL
);
"""


class Journal:
    """Rows by key. What is added together is one transaction: there whole, or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.base = sqlite3.connect(path, isolation_level=None, timeout=60.0)
            self.base.execute("PRAGMA journal_mode=WAL")
            self.base.execute("PRAGMA synchronous=NORMAL")
            self.base.executescript(_TABLES)
            found = self.base.execute("SELECT layout FROM about").fetchone()
            if found is None:
                self.base.execute("INSERT INTO about VALUES (?)", (LAYOUT,))
        except sqlite3.OperationalError as error:
            raise self._not_written(error) from None
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: is no journal of a sweep ({error}). Choose another --out.") from None
        if found is not None and found[0] != LAYOUT:
            raise InputError(
                f"{path}: written in layout {found[0]}, this version writes {LAYOUT}. Choose another --out."
            )
        self.names: dict[tuple[str, ...], int] = {}

    def keys(self) -> set[bytes]:
        """Keys of what is answered."""
        blobs = (blob for (blob,) in self.base.execute("SELECT keys FROM answers"))
        return {blob[i : i + KEY] for blob in blobs for i in range(0, len(blob), KEY)}

    def add(self, blocks: Iterable[Block]) -> None:
        """Add answers."""
        try:
            self.base.execute("BEGIN IMMEDIATE")
            for block in blocks:
                said = json.dumps([block.said, block.which])
                row = (self._id(block.names), block.keys, said, block.figures.tobytes())
                self.base.execute("INSERT INTO answers (names, keys, said, figures) VALUES (?, ?, ?, ?)", row)
            self.base.execute("COMMIT")
        except BaseException as error:
            self.names.clear()
            if self.base.in_transaction:
                self.base.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise self._not_written(error) from None
            raise

    def _not_written(self, error: sqlite3.Error) -> InputError:
        return InputError(
            f"{self.path}: cannot be written ({error}). What it holds stays; free space or choose another --out, then --resume."
        )

    def _id(self, names: tuple[str, ...]) -> int:
        if names not in self.names:
            text = json.dumps(names)
            self.base.execute("INSERT OR IGNORE INTO names (columns) VALUES (?)", (text,))
            (self.names[names],) = self.base.execute("SELECT id FROM names WHERE columns = ?", (text,)).fetchone()
        return self.names[names]

    def rows(self) -> dict[bytes, Row]:
        """Everything that is answered; where a key is answered twice, the first answer."""
        names = {i: tuple(json.loads(text)) for i, text in self.base.execute("SELECT id, columns FROM names")}
        out: dict[bytes, Row] = {}
        for i, keys, text, figures in self.base.execute("SELECT names, keys, said, figures FROM answers ORDER BY id"):
            said, which = json.loads(text)
            table = np.frombuffer(figures).reshape(len(which), len(names[i]))
            for key, row in Block(names[i], keys, said, which, table).rows():
                out.setdefault(key, row)
        return out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Fold what is still in the write-ahead log into the file; where that cannot be written, the log stays beside it."""
        with suppress(sqlite3.OperationalError):
            self.base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.base.close()
