"""Speculative decoding: who drafts, what drafting costs, and how many tokens a step makes.

A decode step drafts k tokens one after another, then verifies k + 1 in one pass of the model. If each draft holds with
probability a, independently, a step makes (1 - a**(k + 1)) / (1 - a) tokens of a sequence on average (Leviathan, Kalman and
Matias, 2023, equation 1).
"""

from __future__ import annotations

import math

import numpy as np

from ..catalog.models import Model, Moe
from ..catalog.plans import Engine, Plan
from ..errors import InputError
from ..lowering.check import check
from ..lowering.footprint import serving_footprint
from ..lowering.kernels import DTYPE_IDS, Kernels
from ..lowering.kinds import KIND_IDS, PART_IDS, PHASE_IDS
from .lowered import Lowered
from .state import FloatArray


def tokens_a_step(drafts: int, acceptance: float) -> float:
    """Mean tokens that a decode step makes of a sequence: the drafts before the first that fails, and one of the model's own."""
    return math.fsum(acceptance**ahead for ahead in range(drafts + 1))


def drafting(model: Model, plan: Plan, engine: Engine, draft_model: Model | None) -> tuple[Model, Plan] | None:
    """What drafts, as a model of its own, and how it lies on the same ranks; None without speculative decoding.

    A head that was trained on the model's states (EAGLE) or the model's own module (MTP) is one layer like the last
    block's with the model's embedding and head. Raises InputError for a model that cannot draft or be drafted for.
    """
    asked = engine.speculative
    if asked is None:
        return None
    if model.encoder_only or not model.vocab:
        raise InputError(f"engine.speculative: {model.id} decodes nothing. Leave it out.")
    if asked.method == "draft":
        if draft_model is None:
            raise InputError("engine.speculative.draft_model is missing. Name a smaller model.")
        if draft_model.encoder_only or not draft_model.vocab:
            raise InputError(f"engine.speculative.draft_model = {draft_model.id} decodes nothing. Name another.")
        drafter = draft_model
    else:
        if asked.method == "mtp" and not model.mtp_layers:
            raise InputError(f"engine.speculative.method = mtp, but {model.id} has no such module. Use eagle or draft.")
        drafter = model.with_(blocks=(model.blocks[-1].with_(layers=1),), published_parameters=None)
    mixed = any(isinstance(block.ffn, Moe) for block in drafter.blocks)
    laid = plan.with_(pp=1, ep=plan.ep if mixed else 1, expert_tp=plan.expert_tp if mixed else None)
    if drafter is draft_model:
        laid = laid.with_(dtypes=laid.dtypes.with_(weights=None, activations=None, experts=None, attention=None))
    check(drafter, laid, False)
    return drafter, laid


def held_beside(model: Model, drafter: tuple[Model, Plan]) -> tuple[float, float]:
    """Bytes of a rank for what drafts: its weights, and its KV of a token. A layer on the model's states shares the model's
    embedding and head, and has a projection 2h -> h of its own."""
    drafts, plan = drafter
    if drafts.id != model.id:
        held = serving_footprint(drafts, [plan], 0.0)
        return float(held.weights[0]), float(held.kv_per_token[0])
    held = serving_footprint(drafts.with_(vocab=0), [plan], 0.0)
    joins = 2.0 * 2.0 * model.hidden**2 / plan.tp
    return float(held.weights[0]) + joins, float(held.kv_per_token[0])


class Speculated:
    """Costs of the passes of a model whose decode steps verify what a drafter made; see `pack.Costs`."""

    def __init__(self, target: Lowered, drafter: Lowered, drafts: int) -> None:
        """drafts: tokens drafted a step."""
        self.target = target
        self.drafter = drafter
        self.drafts = drafts
        self.joins = drafter.model.id == target.model.id
        self.launches = target.launches + drafts * drafter.launches

    def trunk_s(self, tokens: FloatArray) -> FloatArray:
        return self.target.trunk_s(tokens)

    def logits_s(self, sequences: FloatArray) -> FloatArray:
        return self.target.logits_s(sequences)

    def decode_s(self, sequences: FloatArray, kv_tokens: FloatArray) -> FloatArray:
        return self.target.decode_s(sequences, kv_tokens)

    def draft_s(self, sequences: FloatArray, kv_tokens: FloatArray) -> FloatArray:
        """Seconds [n] of all passes of the drafter before one decode step of so many sequences [n] of an attention-DP rank."""
        whole = sequences * self.drafter.plan.attention_dp
        each = self._pass_s(whole) + self.drafter.logits_s(whole) + self.drafter.decode_s(sequences, kv_tokens)
        return self.drafts * each

    def prefill_s(self, sequences: FloatArray, query_tokens: FloatArray, kv_tokens: FloatArray) -> FloatArray:
        """The drafter reads the prompts too; its pass counts as attention."""
        plan = self.drafter.plan
        own = self.drafter.prefill_s(sequences, query_tokens, kv_tokens)
        tokens = np.ceil(sequences * query_tokens / plan.cp) * plan.attention_dp
        return self.target.prefill_s(sequences, query_tokens, kv_tokens) + own + self._pass_s(tokens)

    def _pass_s(self, tokens: FloatArray) -> FloatArray:
        seconds: FloatArray = self.drafter.trunk_s(tokens).sum(axis=1)
        if self.joins:
            seconds = seconds + self.drafter.price(
                _joined(self.drafter, np.ceil(tokens / self.drafter.plan.attention_dp))
            )
        return seconds


def _joined(drafter: Lowered, tokens: FloatArray) -> Kernels:
    """The projection of token and state, 2h -> h, of so many tokens [n] of a rank. Source: DeepSeek-V3 technical report, section
    2.2; Li et al., EAGLE, 2024."""
    n, hidden = len(tokens), float(drafter.model.hidden)
    dims = np.zeros((n, 8))
    dims[:, 0], dims[:, 1], dims[:, 2], dims[:, 3] = tokens, hidden / drafter.plan.tp, 2.0 * hidden, 1.0
    ones = np.ones(n, dtype=np.int16)
    bf16 = ones * np.int16(DTYPE_IDS["bf16"])
    return Kernels(
        kind=ones * np.int16(KIND_IDS["gemm"]),
        dtype=bf16,
        stored=bf16,
        dims=dims,
        count=np.ones(n),
        part=ones * np.int16(PART_IDS["draft"]),
        phase=ones * np.int16(PHASE_IDS["decode"]),
        stage=np.zeros(n, dtype=np.int32),
        owner=np.arange(n, dtype=np.int32),
        site=np.zeros(n, dtype=np.int16),
    )
