"""What a chip works on in one step of a serving replica that never runs empty: its kernels, its time and its draw."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import cost
from ..cost.machine import WAIT_W
from ..lowering.kernels import Kernels, concatenate
from ..serving.lowered import Lowered
from ..serving.steady import Batch, Replica
from .tables import FloatArray


class Load(NamedTuple):
    """A mean step of one rank: its kernels (`count`: how often each runs), their seconds alone, and its length [s]."""

    kernels: Kernels
    alone_s: FloatArray
    step_s: float

    def draw_w(self, machine: cost.Machine) -> float:
        """Mean draw of a rank [W]: of its kernels, and of waiting for the rest; NaN if its limit is unknown."""
        joules = (cost.joules(self.kernels, machine, self.alone_s) * self.kernels.count).sum()
        busy_s = float((self.alone_s * self.kernels.count).sum())
        waits_s = max(self.step_s - busy_s, 0.0)  # 0 where launches run while their neighbours start or end
        length_s = busy_s + waits_s
        return float(cost.held_j(joules + waits_s * machine.chip_values[WAIT_W], length_s, machine) / length_s)


def decoding(replica: Replica, batch: Batch) -> Load:
    """The mean step of a replica whose sequences are replaced as they finish."""
    prompts = batch.sequences / batch.output_tokens
    seen: list[Kernels] = []
    lowered = _recording(replica, seen)
    lowered.trunk_s(np.array([batch.sequences + prompts * batch.input_tokens]))
    lowered.logits_s(np.array([float(batch.sequences)]))
    lowered.decode_s(*_columns(replica.share(batch.sequences), batch.input_tokens + batch.output_tokens / 2.0))
    together = len(seen)
    lowered.prefill_s(*_columns(1.0, batch.input_tokens, batch.input_tokens))
    each = prompts / replica.plan.attention_dp
    seen[together:] = [rows.take(np.arange(len(rows)), count=rows.count * each) for rows in seen[together:]]
    return _load(replica, seen, replica.steady(batch))


def encoding(replica: Replica, sequences: int, tokens: int) -> Load:
    """One pass of an encoder over so many equal sequences."""
    seen: list[Kernels] = []
    lowered = _recording(replica, seen)
    lowered.trunk_s(np.array([float(sequences * tokens)]))
    lowered.prefill_s(*_columns(replica.share(sequences), tokens, tokens))
    return _load(replica, seen, replica.prefill_s(sequences, tokens))


def _recording(replica: Replica, seen: list[Kernels]) -> Lowered:
    """The replica's passes, whose rows are kept instead of priced."""

    def keep(rows: Kernels) -> FloatArray:
        seen.append(rows)
        return np.zeros(len(rows))

    return Lowered(replica.model, replica.plan, keep)


def _load(replica: Replica, seen: list[Kernels], step_s: float) -> Load:
    rows = concatenate(seen)
    return Load(rows, cost.seconds(rows, replica.machine), step_s)


def _columns(*values: float) -> tuple[FloatArray, ...]:
    return tuple(np.array([float(value)]) for value in values)
