"""What came of a schedule: when each row started and ended, and what that adds up to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .schedule import FloatArray, IntArray, Schedule


@dataclass(frozen=True, eq=False)
class Timeline:
    """Start and end of each row, float64[n] seconds from 0; of a row that was rerun after a fault, the run that finished."""

    schedule: Schedule
    start_s: FloatArray
    end_s: FloatArray

    @property
    def makespan_s(self) -> float:
        """When the last row ends [s]; 0 for an empty schedule."""
        return float(self.end_s.max()) if len(self.end_s) else 0.0

    def busy_s(self, queue: int | str) -> float:
        """Time that a queue (its number or name) spends in its rows [s]. Raises ValueError for a name that is not there."""
        number = self.schedule.queue_names.index(queue) if isinstance(queue, str) else queue
        rows = self.schedule.queue == number
        return float((self.end_s[rows] - self.start_s[rows]).sum())

    def breakdown(self) -> dict[tuple[str, str], float]:
        """Time of the rows by (part, phase), summed over all queues [s]; pairs without rows are left out."""
        table = self.schedule
        phases = max(1, len(table.phase_names))
        pair = table.part.astype(np.int64) * phases + table.phase
        total_s = np.bincount(pair, weights=self.end_s - self.start_s)
        return {
            (table.part_names[key // phases], table.phase_names[key % phases]): float(total_s[key])
            for key in np.unique(pair)
        }

    def critical_path(self) -> IntArray:
        """The rows that bind, first to last: each ended last among what its successor waited for (queue or `after`).

        A gap between two of them is time that no row explains: a launch, a repair. On a tie the queue's own row is named.
        """
        table = self.schedule
        if not len(table):
            return np.zeros(0, dtype=np.int64)
        before = _previous_on_queue(table)
        row = int(np.argmax(self.end_s))
        path = [row]
        while True:
            waited_for = table.after[table.after_ptr[row] : table.after_ptr[row + 1]]
            candidates = ([before[row]] if before[row] >= 0 else []) + [int(other) for other in waited_for]
            if not candidates:
                return np.array(path[::-1], dtype=np.int64)
            row = int(max(candidates, key=lambda other: float(self.end_s[other])))
            path.append(row)


def _previous_on_queue(table: Schedule) -> IntArray:
    """The row before each row on its queue, -1 for the first."""
    order = np.argsort(table.queue, kind="stable")
    before = np.full(len(table), -1, dtype=np.int64)
    same = table.queue[order][1:] == table.queue[order][:-1]
    before[order[1:][same]] = order[:-1][same]
    return before
