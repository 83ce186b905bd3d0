"""The journal of a sweep: what is answered, keyed by scenario, in SQLite. Whatever stops the process, what was added stays whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import InputError
from .priced import Row

LAYOUT = 1  # of the tables below
_TABLES = """
CREATE TABLE IF NOT EXISTS about (layout INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS names (id INTEGER PRIMARY KEY, columns TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS answers (
  key BLOB PRIMARY KEY, status TEXT NOT NULL, error TEXT NOT NULL, basis TEXT NOT NULL, names INTEGER NOT NULL, figures BLOB NOT NULL
) WITHOUT ROWID;
"""


class Journal:
    """Rows by key. A batch is added in one transaction, or not at all."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.base = sqlite3.connect(path, isolation_level=None, timeout=60.0)
            self.base.execute("PRAGMA journal_mode=WAL")
            self.base.execute("PRAGMA synchronous=NORMAL")
            self.base.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: is no journal of a sweep ({error}). Choose another --out.") from None
        found = self.base.execute("SELECT layout FROM about").fetchone()
        if found is None:
            self.base.execute("INSERT INTO about VALUES (?)", (LAYOUT,))
        elif found[0] != LAYOUT:
            raise InputError(f"{path}: written in layout {found[0]}, this version writes {LAYOUT}. Choose another --out.")
        self.names: dict[tuple[str, ...], int] = {}

    def keys(self) -> set[bytes]:
        """Keys of what is answered."""
        return {key for (key,) in self.base.execute("SELECT key FROM answers")}

    def add(self, rows: Iterable[tuple[bytes, Row]]) -> None:
        """Add answers; one that is there already stays as it is."""
        self.base.execute("BEGIN IMMEDIATE")
        try:
            plain = [(key, r.status, r.error, r.basis, self._id(r.names), r.values.tobytes()) for key, r in rows]
            self.base.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)", plain)
        except BaseException:
            self.base.execute("ROLLBACK")
            self.names.clear()
            raise
        self.base.execute("COMMIT")

    def _id(self, names: tuple[str, ...]) -> int:
        if names not in self.names:
            text = json.dumps(names)
            self.base.execute("INSERT OR IGNORE INTO names (columns) VALUES (?)", (text,))
            (self.names[names],) = self.base.execute("SELECT id FROM names WHERE columns = ?", (text,)).fetchone()
        return self.names[names]

    def rows(self) -> dict[bytes, Row]:
        """Everything that is answered."""
        names = {i: tuple(json.loads(text)) for i, text in self.base.execute("SELECT id, columns FROM names")}
        answers = self.base.execute("SELECT key, status, error, basis, names, figures FROM answers")
        return {
            key: Row(status, error, basis, names[i], np.frombuffer(figures)) for key, status, error, basis, i, figures in answers
        }

    def close(self) -> None:
        """Fold what is still in the write-ahead log into the file."""
        self.base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.base.close()
