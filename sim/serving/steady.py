"""One serving replica as arithmetic: a prompt pass, a decode step, and what a batch of equal requests takes.

The same prices as the simulated replica's (serving.lowered), without a clock: for static batches and for queues that never
run empty, where every iteration looks like every other one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import cost
from ..catalog.models import Model
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..lowering.kernels import Kernels
from .lowered import Lowered
from .settings import as_served, kv_blocks, resolved
from .state import FloatArray

Price = Callable[[Kernels, cost.Machine], FloatArray]  # seconds of each row on a machine


@dataclass(frozen=True)
class Batch:
    """Equal requests that are served together: so many, tokens in, tokens out."""

    sequences: int
    input_tokens: int
    output_tokens: int


class Replica:
    """Seconds of the passes of a model under a plan on a target. Raises Infeasible where weights and one block do not fit."""

    def __init__(self, model: Model, plan: Plan, target: Target, engine: Engine, price: Price = cost.seconds) -> None:
        self.model, self.target = model, target
        self.plan = as_served(plan, model, target.chip).with_(dp=1)
        self.engine = resolved(engine, target)
        self.machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
        self.price: Callable[[Kernels], FloatArray] = lambda rows: price(rows, self.machine)
        self.lowered = Lowered(model, self.plan, self.price, target.stack)
        self.padded = target.stack.buckets == "power_of_two"

    @property
    def chips(self) -> float:
        """Chips of the replica; less than 1 where it takes some of a chip's ranks only."""
        plan = self.plan
        return plan.tp * plan.pp * plan.cp * plan.attention_dp / self.target.chip.ranks

    def capacity(self, tokens: float) -> int:
        """Sequences of so many tokens that run at once: what the KV cache holds, at most max_num_seqs in each of a pipeline's batches.

        Raises Infeasible where it holds none.
        """
        most = (self.engine.max_num_seqs or 1) * self.plan.pp
        if self.model.encoder_only:
            return most
        blocks = kv_blocks(self.model, self.plan, self.engine, self.target)
        held = most if blocks is None else int(blocks // math.ceil(tokens / self.engine.kv_block))
        return max(1, min(most, held))

    def prefill_s(self, sequences: int, tokens: int) -> float:
        """Prompts of so many equal sequences, each `tokens` long, in one pass; more than a pass holds go one after another."""
        limit = max(1, (self.engine.max_batched_tokens or tokens) * self.plan.attention_dp // self.length(tokens))
        passes, rest = divmod(sequences, limit)
        whole = self._prefill_s(limit, tokens) * passes if passes else 0.0
        return whole + (self._prefill_s(rest, tokens) if rest else 0.0)

    def _prefill_s(self, sequences: int, tokens: int) -> float:
        length = self.length(tokens)
        held = -(-sequences // min(self.plan.pp, sequences))
        look = self.lowered.prefill_s(*_columns(self.share(held), length, length))
        stack = self.target.stack
        gaps = 1.0 + stack.prompt_gaps
        return self._total(held, held * length, float(look[0]), held, gaps) + stack.prompt_host_s

    def decode_s(self, sequences: int, kv_tokens: float, prompt_tokens: float = 0.0, gaps: float = 1.0) -> float:
        """One step: a token for each sequence that looks at kv_tokens, with so many prompt tokens beside them. gaps: the kernels'
        time with what lies between them, over that alone (`Stack.prompt_gaps`)."""
        ways = min(self.plan.pp, sequences)
        held = self.pad(-(-sequences // ways))
        look = float(self.lowered.decode_s(*_columns(self.share(held), self.length(kv_tokens)))[0])
        return self._total(held, held + prompt_tokens / ways, look, held, gaps)

    def prompt_attention_s(self, tokens: int) -> float:
        """Attention of one prompt alone, without what it shares with other tokens of the pass."""
        return float(self.lowered.prefill_s(*_columns(1.0, tokens, tokens))[0])

    def _total(self, sequences: int, tokens: float, look_s: float, sampled: int, gaps: float = 1.0) -> float:
        device = (self._shared(tokens, sampled) + look_s) * gaps
        stack = self.target.stack
        floor = stack.host_launch_s * self.lowered.launches if stack.launch == "eager" else 0.0
        return max(device, floor) + stack.step_host_s + stack.sequence_host_s * self.share(sequences)

    def _shared(self, tokens: float, sampled: float) -> float:
        trunk = float(self.lowered.trunk_s(np.array([tokens]))[0].sum())
        return trunk if self.model.encoder_only else trunk + float(self.lowered.logits_s(np.array([float(sampled)]))[0])

    def share(self, sequences: float) -> float:
        """Sequences of the fullest attention-data-parallel rank."""
        return float(math.ceil(sequences / self.plan.attention_dp))

    def pad(self, size: float) -> int:
        """A size as compiled graphs know it."""
        return 2 ** math.ceil(math.log2(max(size, 1.0))) if self.padded else math.ceil(size)

    def length(self, tokens: float) -> int:
        """Tokens of a sequence as compiled graphs know them."""
        return max(self.pad(tokens), self.target.stack.compiled_tokens or 0)

    def static(self, batch: Batch) -> tuple[float, float]:
        """(prompt pass, mean decode step) of a batch that stays together [s]; Simpson's rule over the growing KV cache."""
        prefill = self.prefill_s(batch.sequences, batch.input_tokens)
        first, last = batch.input_tokens + 1.0, float(batch.input_tokens + batch.output_tokens)
        steps = [self.decode_s(batch.sequences, kv) for kv in (first, (first + last) / 2.0, last)]
        return prefill, (steps[0] + 4.0 * steps[1] + steps[2]) / 6.0

    def steady(self, batch: Batch) -> float:
        """Mean step [s] of a replica whose sequences are replaced as they finish: each step carries its share of prompts."""
        prompts = batch.sequences / batch.output_tokens  # that start in one step
        middle = batch.input_tokens + batch.output_tokens / 2.0
        stack, carrying = self.target.stack, min(prompts, 1.0)
        gaps = 1.0 + carrying * stack.prompt_gaps
        step = self.decode_s(batch.sequences, middle, prompts * batch.input_tokens, gaps)
        step += prompts / self.plan.attention_dp * self.prompt_attention_s(batch.input_tokens) * gaps
        return step + carrying * stack.prompt_host_s

    def passes_s(
        self, sequences: FloatArray, kv_tokens: float, prompt_tokens: FloatArray, gaps: float = 1.0
    ) -> FloatArray:
        """`decode_s` for so many sequences and prompt tokens at once [n] each."""
        ways = np.minimum(float(self.plan.pp), sequences)
        held = np.array([float(self.pad(size)) for size in np.ceil(sequences / ways)])
        share = np.ceil(held / self.plan.attention_dp)
        device = self.lowered.trunk_s(held + prompt_tokens / ways).sum(axis=1) + self.lowered.logits_s(held)
        device += self.lowered.decode_s(share, np.full(len(held), float(self.length(kv_tokens))))
        stack = self.target.stack
        floor = stack.host_launch_s * self.lowered.launches if stack.launch == "eager" else 0.0
        step: FloatArray = np.maximum(device * gaps, floor) + stack.step_host_s + stack.sequence_host_s * share
        return step


def _columns(*values: float) -> tuple[FloatArray, ...]:
    return tuple(np.array([float(value)]) for value in values)
