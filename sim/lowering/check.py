"""Is a plan legal for a model on so many ranks? Every refusal names key, value and remedy."""

from __future__ import annotations

from ..catalog.models import Attention, LatentAttention, LinearAttention, Model, Moe
from ..catalog.plans import Plan
from ..errors import InputError
from .sharding import TWO_CHUNKS


def resolved(plan: Plan, ranks: int, model: Model) -> Plan:
    """The plan with dp filled in from the ranks that there are. Raises InputError if the degrees do not multiply out."""
    group = plan.tp * plan.pp * plan.cp
    if ranks % group:
        raise InputError(
            f"plan: tp * pp * cp = {plan.tp} * {plan.pp} * {plan.cp} = {group} does not divide {ranks} ranks. "
            f"Use {ranks // group * group or group} ranks, or degrees whose product divides {ranks}."
        )
    dp = ranks // group if plan.dp is None else plan.dp
    if dp * group != ranks:
        raise InputError(
            f"plan.dp = {dp}: tp * pp * dp * cp = {dp * group}, but there are {ranks} ranks. Leave dp out, or use {ranks // group}."
        )
    return plan.with_(dp=dp)


def check(model: Model, plan: Plan, training: bool) -> None:
    """Raises InputError for a plan that no framework could run."""
    for block in model.blocks:
        mixer, ffn = block.mixer, block.ffn
        if isinstance(mixer, Attention | LatentAttention):
            _divides("plan.tp", plan.tp, f"heads of {model.id}", mixer.heads)
        if isinstance(mixer, Attention) and mixer.kv_heads % plan.tp and plan.tp % mixer.kv_heads:
            raise InputError(
                f"plan.tp = {plan.tp} neither divides nor is a multiple of model.kv_heads = {mixer.kv_heads} ({model.id}). "
                f"Use {_choices(mixer.kv_heads)}."
            )
        if isinstance(mixer, LinearAttention):
            _divides("plan.tp", plan.tp, f"key_heads of {model.id}", mixer.key_heads)
        if isinstance(ffn, Moe):
            _divides("plan.ep", plan.ep, f"experts of {model.id}", ffn.experts)
    has_experts = any(isinstance(block.ffn, Moe) for block in model.blocks)
    if plan.ep > 1 and not has_experts:
        raise InputError(f"plan.ep = {plan.ep}, but {model.id} has no experts. Use ep = 1.")
    slots = plan.pp * (2 if plan.schedule in TWO_CHUNKS else plan.virtual_stages)
    if slots > model.layers:
        raise InputError(
            f"plan.pp * virtual_stages = {slots} is more than the {model.layers} layers of {model.id}. Use at most {model.layers}."
        )
    if training:
        _check_training(plan)
    else:
        _check_serving(model, plan)


def _check_training(plan: Plan) -> None:
    dp = plan.dp or 1
    ranks = plan.tp * plan.cp * dp
    if plan.ep * (plan.expert_tp or 1) > ranks or ranks % (plan.ep * (plan.expert_tp or 1)):
        raise InputError(
            f"plan.ep * expert_tp = {plan.ep * (plan.expert_tp or 1)} does not divide tp * cp * dp = {ranks}. Use a divisor of it."
        )
    if plan.global_batch is not None:
        passes = plan.micro_batch * dp
        if plan.global_batch % passes:
            raise InputError(
                f"plan.global_batch = {plan.global_batch} is not a multiple of micro_batch * dp = {passes}. "
                f"Use {max(passes, plan.global_batch // passes * passes)}."
            )
        micro_batches = plan.global_batch // passes
        if plan.virtual_stages > 1 and (plan.pp < 2 or micro_batches % plan.pp):
            raise InputError(
                f"plan.virtual_stages = {plan.virtual_stages} needs pp >= 2 and micro-batches a multiple of pp = {plan.pp}; "
                f"there are {micro_batches}. Use virtual_stages = 1, or another global_batch."
            )
    if plan.schedule != "1f1b":
        _check_schedule(plan)
    if plan.trainable == "lora" and not plan.lora_rank:
        raise InputError("plan.lora_rank = 0 with trainable = lora trains nothing. Use 8 or 16.")


def _check_schedule(plan: Plan) -> None:
    """What the schedules beside 1f1b ask for."""
    if plan.virtual_stages > 1:
        raise InputError(
            f"plan.schedule = {plan.schedule} with virtual_stages = {plan.virtual_stages}: only 1f1b is interleaved. Use 1."
        )
    if plan.schedule == "dualpipe":
        micro_batches = (plan.global_batch or plan.micro_batch * (plan.dp or 1)) // (plan.micro_batch * (plan.dp or 1))
        if plan.pp % 2 or micro_batches % 2:
            raise InputError(
                f"plan.schedule = dualpipe needs even pp and an even number of micro-batches; there are pp = {plan.pp} and "
                f"{micro_batches}. Change pp or global_batch."
            )


def _check_serving(model: Model, plan: Plan) -> None:
    ranks = plan.tp * plan.attention_dp
    experts = plan.ep * (plan.expert_tp or 1)
    if experts > ranks or ranks % experts:
        raise InputError(
            f"plan.ep * expert_tp = {experts} does not divide tp * attention_dp = {ranks} ({model.id}). Use a divisor of {ranks}."
        )


def _divides(key: str, degree: int, name: str, count: int) -> None:
    if count % degree:
        raise InputError(f"{key} = {degree} does not divide the {count} {name}. Use {_choices(count)}.")


def _choices(count: int) -> str:
    divisors = [d for d in range(1, count + 1) if count % d == 0]
    shown = [str(d) for d in divisors[:8]]
    return ", ".join(shown[:-1]) + (" or " if len(shown) > 1 else "") + shown[-1]
