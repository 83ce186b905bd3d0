"""Requests written as they end: one CSV file that grows, or a folder of Parquet files."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ..errors import InputError

ROWS = 200_000  # of a Parquet file at least


class Requests:
    """Takes columns of requests that are done. file: ends in .csv (one file) or .parquet (a folder of parts, read as one table)."""

    def __init__(self, file: Path) -> None:
        if file.suffix not in (".csv", ".parquet"):
            raise InputError(f"--stream {file}: ends in neither .csv nor .parquet. Name it so.")
        self.file, self.rows, self.parts = file, 0, 0
        self.kept: list[dict[str, Any]] = []
        self.text: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            if self.file.suffix == ".csv":
                self.text = self.file.open("w", encoding="utf-8", newline="")
            else:
                self.polars: Any = _polars()
                self.file.mkdir(exist_ok=True)
                for old in self.file.glob("part-*.parquet"):
                    old.unlink()
        except OSError as error:
            raise InputError(f"--stream {self.file}: {error.strerror}. Give a place that can be written.") from None
        return self

    def __call__(self, columns: dict[str, Any]) -> None:
        if self.text is not None:
            if not self.rows:
                self.text.write(",".join(columns) + "\n")
            lines = zip(*(column.tolist() for column in columns.values()), strict=True)
            self.text.writelines(",".join(map(repr, line)) + "\n" for line in lines)
        else:
            self.kept.append({name: column.copy() for name, column in columns.items()})
            if sum(len(each["request"]) for each in self.kept) >= ROWS:
                self._part()
        self.rows += len(columns["request"])

    def _part(self) -> None:
        whole = self.polars.concat([self.polars.DataFrame(each) for each in self.kept])
        whole.write_parquet(self.file / f"part-{self.parts:05d}.parquet")
        self.kept, self.parts = [], self.parts + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.text is not None:
            self.text.close()
        elif self.kept:
            self._part()


def _polars() -> Any:
    try:
        import polars
    except ImportError:
        raise InputError("--stream: Parquet needs Polars. Install gambrel[sweep], or end the name in .csv.") from None
    return polars
