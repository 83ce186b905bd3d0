"""Settings of a replica, resolved: what the user did not set is the stack's default. Needs no Numba."""

from __future__ import annotations

import math

from ..catalog.chips import Chip
from ..catalog.models import Model
from ..catalog.plans import Engine, Plan
from ..catalog.targets import Target
from ..errors import Infeasible, InputError
from ..lowering.footprint import serving_footprint
from ..units import text
from .drafter import held_beside


def resolved(engine: Engine, target: Target) -> Engine:
    """The engine's settings; what the user did not set is the stack's default. Raises InputError if neither says."""
    given = {name: getattr(engine, name) for name in engine.model_fields_set if getattr(engine, name) is not None}
    stack = target.stack.engine
    default = {name: getattr(stack, name) for name in stack.model_fields_set}
    found = Engine.model_validate({**default, **given})
    for name in ("scheduler", "max_num_seqs", "max_batched_tokens", "kv_fraction"):
        if getattr(found, name) is None:
            raise InputError(f"engine.{name} is not set, and stack {target.stack.id} has no default. Set it.")
    return found


def as_served(plan: Plan, model: Model, chip: Chip) -> Plan:
    """The plan as engines run it: partial sums are added on all ranks, and four-bit weights of a checkpoint that names 16-bit
    activations are multiplied by the kernels for four bits where the chip has a four-bit rate."""
    plan = plan.with_(sequence_parallel=False)
    chosen, own = plan.dtypes, model.stored
    four_bit = "fp4" in (own.experts, own.linear) and own.activations in ("bf16", "fp16")
    if four_bit and chip.matrix.fp4_flops_per_s and chosen.weights is None and chosen.activations is None:
        return plan.with_(dtypes=chosen.with_(activations="fp4"))
    return plan


def of_replica(found: Engine, given: Engine, ranks: int) -> Engine:
    """Defaults of a stack count for each attention-DP rank and each batch of a pipeline, what the user set for the whole
    replica. ranks: product of both."""
    names = [name for name in ("max_num_seqs", "max_batched_tokens") if getattr(given, name) is None]
    return found.with_(**{name: getattr(found, name) * ranks for name in names})


def kv_blocks(
    model: Model, plan: Plan, engine: Engine, target: Target, drafter: tuple[Model, Plan] | None = None
) -> int | None:
    """KV blocks of a replica: what memory holds beside weights, workspace and states. None: nothing is cached. drafter: a model
    that drafts, with weights and KV of its own on the same ranks.

    Raises Infeasible if it holds not one block.
    """
    held = serving_footprint(model, [plan], float(engine.max_batched_tokens or 0) / plan.pp)  # a stage runs one batch
    memory = target.chip.memory.capacity_bytes / target.chip.ranks
    limit = float(engine.kv_fraction or 0.0) * memory
    states = float(held.state[0]) * math.ceil((engine.max_num_seqs or 1) / plan.attention_dp)
    fixed, per_token = float(held.total[0]), float(held.kv_per_token[0])
    if drafter is not None:
        draft_bytes, draft_kv_bytes = held_beside(model, drafter)
        fixed, per_token = fixed + draft_bytes, per_token + draft_kv_bytes
    left = limit - fixed - states
    per_block = per_token * engine.kv_block
    if left < per_block or left < 0.0:
        raise Infeasible(
            f"{model.id} on {target.cluster.id}: weights and workspace take {text(fixed, 'bytes')} and states of "
            f"{engine.max_num_seqs} sequences {text(states, 'bytes')} of {text(limit, 'bytes')} a rank, no room for KV. "
            "Use more tp or pp, a smaller weight format, or fewer max_num_seqs."
        )
    return int(left / per_block) * plan.attention_dp if per_block else None


def off_device(
    model: Model, plan: Plan, engine: Engine, target: Target, drafter: tuple[Model, Plan] | None = None
) -> tuple[int, float, tuple[tuple[float, float], ...]]:
    """KV outside the device: (blocks for preempted sequences, seconds to move a token, tiers of prefix blocks: tokens that fit,
    seconds to bring one back). Chips move their parts at once, and the ranks of a chip share its host port.

    Raises InputError if a rate is not known.
    """
    if engine.swap_bytes is None and engine.host_kv_bytes is None and engine.ssd_kv_bytes is None:
        return 0, 0.0, ()
    held = serving_footprint(model, [plan], 0.0)
    beside = held_beside(model, drafter)[1] if drafter else 0.0
    per_token = (float(held.kv_per_token[0]) + beside) * target.chip.ranks
    host = target.chip.host
    if host is None or host.bandwidth_bytes_per_s is None:
        raise InputError(
            f"{target.chip.id} states no host bandwidth, so that KV in host memory has no price. Leave it out."
        )
    if (engine.ssd_kv_bytes is None) != (engine.ssd_bytes_per_s is None):
        raise InputError("engine.ssd_kv and engine.ssd_bytes_per_s go together. Give both.")
    if per_token == 0.0:
        return 0, 0.0, ()
    token_s, ways = per_token / host.bandwidth_bytes_per_s, plan.attention_dp
    tiers = []
    if engine.host_kv_bytes is not None:
        tiers.append((engine.host_kv_bytes / per_token * ways, token_s))
    if engine.ssd_kv_bytes is not None and engine.ssd_bytes_per_s is not None:
        tiers.append((engine.ssd_kv_bytes / per_token * ways, max(token_s, per_token / engine.ssd_bytes_per_s)))
    return int((engine.swap_bytes or 0.0) / (per_token * engine.kv_block) * ways), token_s, tuple(tiers)


def kv_tokens(model: Model, plan: Plan, engine: Engine, target: Target) -> int:
    """Tokens whose keys and values a replica holds at once; 0 if it caches none. Raises Infeasible as `kv_blocks` does."""
    settings = of_replica(resolved(engine, target), engine, plan.attention_dp * plan.pp)
    return (kv_blocks(model, plan, settings, target) or 0) * settings.kv_block
