"""A plan as launch arguments of the frameworks that people train with. Flag names: Megatron-LM arguments.py, torchtitan
config/configs.py, MaxText configs/base.yml (2026). What a framework cannot say is listed as comments, never dropped."""

from __future__ import annotations

from collections.abc import Callable

from ..catalog.models import Attention, Dense, LatentAttention, Model, Moe
from ..catalog.plans import Plan
from ..errors import InputError

_SCHEDULES = {  # torchtitan's pipeline_parallel_schedule
    "1f1b": "1F1B",
    "gpipe": "GPipe",
    "zb-v": "ZBVZeroBubble",
    "dualpipe": "DualPipeV",
    "interleaved": "Interleaved1F1B",
}


def launch(framework: str, model: Model, plan: Plan, seq_len: int) -> str:
    """The arguments of one framework as text. Raises InputError for a framework that is not known."""
    if framework not in FRAMEWORKS:
        raise InputError(f"--emit = {framework!r} is no framework. Use {', '.join(FRAMEWORKS)}.")
    return FRAMEWORKS[framework](model, plan, seq_len)


def _shape(model: Model) -> tuple[int, int, int, int]:
    """(heads, KV heads, head size, FFN width) of the block with most layers."""
    block = max(model.blocks, key=lambda each: each.layers)
    mixer, ffn = block.mixer, block.ffn
    heads = getattr(mixer, "heads", 1)
    size = mixer.head_dim if isinstance(mixer, Attention) else model.hidden // heads
    kv_heads = mixer.kv_heads if isinstance(mixer, Attention) else heads
    return heads, kv_heads, size, ffn.width if isinstance(ffn, Dense | Moe) else 4 * model.hidden


def _experts(model: Model) -> Moe | None:
    return next((block.ffn for block in model.blocks if isinstance(block.ffn, Moe)), None)


def _unsaid(names: list[str]) -> list[str]:
    return [f"# not said here: {', '.join(names)}"] if names else []


def megatron(model: Model, plan: Plan, seq_len: int) -> str:
    """Command-line arguments of Megatron-LM's pretrain_gpt.py."""
    heads, kv_heads, size, width = _shape(model)
    experts = _experts(model)
    words: list[str] = [
        f"--num-layers {model.layers}",
        f"--hidden-size {model.hidden}",
        f"--ffn-hidden-size {width}",
        f"--num-attention-heads {heads}",
        *([f"--group-query-attention --num-query-groups {kv_heads}"] if kv_heads != heads else []),
        *([f"--kv-channels {size}"] if size * heads != model.hidden else []),
        f"--seq-length {seq_len}",
        f"--max-position-embeddings {seq_len}",
        f"--micro-batch-size {plan.micro_batch}",
        f"--global-batch-size {plan.global_batch}",
        f"--tensor-model-parallel-size {plan.tp}",
        f"--pipeline-model-parallel-size {plan.pp}",
        f"--context-parallel-size {plan.cp}",
    ]
    if any(isinstance(block.mixer, LatentAttention) for block in model.blocks):
        words.append("--multi-latent-attention")
    if experts:
        words += [
            f"--num-experts {experts.experts}",
            f"--moe-router-topk {experts.topk}",
            f"--moe-ffn-hidden-size {experts.width}",
            f"--expert-model-parallel-size {plan.ep}",
        ]
    words += _megatron_choices(model, plan)
    unsaid = [f"schedule {plan.schedule}"] if plan.schedule != "1f1b" else []
    return "\n".join([*_unsaid(unsaid), " \\\n".join(words)])


def _megatron_choices(model: Model, plan: Plan) -> list[str]:
    """Interleaving, sharding, recomputation, overlap, offload and number format."""
    words: list[str] = []
    if plan.virtual_stages > 1:
        words.append(f"--num-layers-per-virtual-pipeline-stage {model.layers // (plan.pp * plan.virtual_stages)}")
    if plan.sequence_parallel and plan.tp > 1:
        words.append("--sequence-parallel")
    if plan.recompute in ("full", "selective"):
        words.append(f"--recompute-granularity {plan.recompute}")
    if plan.recompute == "full":
        words.append("--recompute-method uniform --recompute-num-layers 1")
    if plan.sharding == "zero1":
        words.append("--use-distributed-optimizer")
    elif plan.sharding != "none":
        strategy = "optim_grads" if plan.sharding == "zero2" else "optim_grads_params"
        words += ["--use-megatron-fsdp --use-distributed-optimizer", f"--data-parallel-sharding-strategy {strategy}"]
    if plan.overlap:
        words.append("--overlap-grad-reduce")
        words += ["--overlap-param-gather"] if plan.sharding != "none" else []
    if plan.offload == "optimizer":
        words.append("--optimizer-cpu-offload")
    words.append({"fp8": "--bf16 --fp8-format hybrid", "fp16": "--fp16"}.get(plan.dtypes.weights or "", "--bf16"))
    return words


def torchtitan(model: Model, plan: Plan, seq_len: int) -> str:
    """Overrides of a torchtitan configuration, one `--section.key value` a line."""
    ranks = (plan.dp or 1) * plan.cp
    sharded = plan.sharding == "zero3"
    degree = min(plan.shard_degree or ranks, ranks) if sharded else 1
    shard = max(1, degree // plan.cp) if sharded else 1
    replicate = (plan.dp or 1) // shard
    name = "interleaved" if plan.virtual_stages > 1 else plan.schedule
    recompute = {"full": "full", "selective": "selective"}.get(plan.recompute, "none")
    words = [
        f"--parallelism.data_parallel_replicate_degree {replicate}",
        f"--parallelism.data_parallel_shard_degree {shard}",
        f"--parallelism.tensor_parallel_degree {plan.tp}",
        f"--parallelism.pipeline_parallel_degree {plan.pp}",
        *(
            [f"--parallelism.pipeline_parallel_schedule {_SCHEDULES[name]}"]
            if plan.pp > 1 and name in _SCHEDULES
            else []
        ),
        f"--parallelism.context_parallel_degree {plan.cp}",
        *([f"--parallelism.expert_parallel_degree {plan.ep}"] if _experts(model) else []),
        f"--training.num_tokens_per_train_step {(plan.global_batch or 1) * seq_len}",
        f"--training.max_context_length {seq_len}",
        f"--activation_checkpoint.mode {recompute}",
    ]
    unsaid = [f"micro_batch {plan.micro_batch}"]
    unsaid += (
        [f"sharding {plan.sharding} (torchtitan shards all or nothing)"] if plan.sharding in ("zero1", "zero2") else []
    )
    unsaid += [f"schedule {plan.schedule}"] if name not in _SCHEDULES else []
    unsaid += ["offload optimizer"] if plan.offload == "optimizer" else []
    return "\n".join([*_unsaid(unsaid), *words])


def maxtext(model: Model, plan: Plan, seq_len: int) -> str:
    """A MaxText YAML that overrides configs/base.yml; all parallelism inside one slice."""
    heads, kv_heads, size, width = _shape(model)
    experts = _experts(model)
    devices = plan.tp * plan.pp * (plan.dp or 1) * plan.cp
    sharded = plan.sharding == "zero3"
    recompute = {"full": "full", "selective": "minimal"}.get(plan.recompute, "minimal_with_context")
    dp = (plan.dp or 1) // (plan.ep if experts else 1)
    lines = {
        "base_emb_dim": model.hidden,
        "base_mlp_dim": width,
        "base_num_decoder_layers": model.layers,
        "base_num_query_heads": heads,
        "base_num_kv_heads": kv_heads,
        "head_dim": size,
        **({"num_experts": experts.experts, "num_experts_per_tok": experts.topk} if experts else {}),
        "max_target_length": seq_len,
        "per_device_batch_size": (plan.global_batch or 1) / devices,
        "gradient_accumulation_steps": 1,
        "ici_data_parallelism": 1 if sharded else dp,
        "ici_fsdp_parallelism": dp if sharded else 1,
        "ici_tensor_parallelism": plan.tp,
        "ici_context_parallelism": plan.cp,
        "ici_pipeline_parallelism": plan.pp,
        "ici_expert_parallelism": plan.ep if experts else 1,
        "remat_policy": recompute,
        "quantization": {"fp8": "fp8", "int8": "int8"}.get(plan.dtypes.weights or "", ""),
    }
    unsaid = [f"sharding {plan.sharding}"] if plan.sharding in ("zero1", "zero2") else []
    unsaid += [f"schedule {plan.schedule}"] if plan.schedule != "1f1b" else []
    return "\n".join(
        [*_unsaid(unsaid), *(f"{key}: {value if value != '' else chr(34) * 2}" for key, value in lines.items())]
    )


FRAMEWORKS: dict[str, Callable[[Model, Plan, int], str]] = {
    "megatron": megatron,
    "torchtitan": torchtitan,
    "maxtext": maxtext,
}
