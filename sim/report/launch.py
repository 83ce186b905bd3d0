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

_MEGATRON_FORMATS = {  # of products; anything else runs in bf16
    "fp4": "--bf16 --fp4-format e2m1",
    "fp8": "--bf16 --fp8-format hybrid",
    "fp16": "--fp16",
    "fp32": "",
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
    """Command-line arguments of Megatron-LM's pretrain_gpt.py; `gambrel import` reads them back."""
    words: list[str] = [
        *_megatron_model(model),
        f"--seq-length {seq_len}",
        f"--max-position-embeddings {max(seq_len, model.max_positions or 0) if model.learned_positions else seq_len}",
        f"--micro-batch-size {plan.micro_batch}",
        *([f"--global-batch-size {plan.global_batch}"] if plan.global_batch else []),
        f"--tensor-model-parallel-size {plan.tp}",
        f"--pipeline-model-parallel-size {plan.pp}",
        f"--context-parallel-size {plan.cp}",
    ]
    if _experts(model):
        split = plan.expert_tp or (1 if plan.ep > 1 else plan.tp)
        words += [f"--expert-model-parallel-size {plan.ep}", f"--expert-tensor-parallel-size {split}"]
    words += _megatron_choices(model, plan)
    said = [] if plan.dp is None else [f"# world size {plan.tp * plan.pp * plan.dp * plan.cp}"]
    return "\n".join([*said, *_unsaid(_megatron_unsaid(model, plan)), " \\\n".join(words)])


def _megatron_model(model: Model) -> list[str]:
    """What the network is."""
    heads, kv_heads, size, width = _shape(model)
    mixer = max(model.blocks, key=lambda each: each.layers).mixer
    experts = _experts(model)
    dense = next((block.ffn for block in model.blocks if isinstance(block.ffn, Dense)), None)
    ffn = dense or experts
    words = [
        f"--num-layers {model.layers}",
        f"--hidden-size {model.hidden}",
        f"--ffn-hidden-size {dense.width if dense else width}",
        f"--num-attention-heads {heads}",
        *([f"--group-query-attention --num-query-groups {kv_heads}"] if kv_heads != heads else []),
        *([f"--kv-channels {size}"] if isinstance(mixer, Attention) and size * heads != model.hidden else []),
        *(["--swiglu"] if ffn is not None and ffn.gated else []),
        *([] if ffn is not None and ffn.bias else ["--disable-bias-linear"]),
        *(["--add-qkv-bias"] if isinstance(mixer, Attention) and mixer.bias and not (ffn and ffn.bias) else []),
        f"--position-embedding-type {'learned_absolute' if model.learned_positions else 'rope'}",
        *([] if model.tied else ["--untie-embeddings-and-output-weights"]),
        f"--vocab-size {model.vocab}",
        *([f"--mtp-num-layers {model.mtp_layers}"] if model.mtp_layers else []),
    ]
    if isinstance(mixer, LatentAttention):
        rank = [f"--q-lora-rank {mixer.query_rank}"] if mixer.query_rank else []
        words += ["--multi-latent-attention", *rank, f"--kv-lora-rank {mixer.kv_rank}"]
        words += [f"--qk-head-dim {mixer.nope_dim}", f"--qk-pos-emb-head-dim {mixer.rope_dim}"]
        words.append(f"--v-head-dim {mixer.value_dim}")
    if experts:
        words += [f"--num-experts {experts.experts}", f"--moe-router-topk {experts.topk}"]
        words.append(f"--moe-ffn-hidden-size {experts.width}")
        if experts.shared_width:
            words.append(f"--moe-shared-expert-intermediate-size {experts.shared_width}")
        if dense:
            pattern = "+".join(f"[{int(isinstance(b.ffn, Moe))}]*{b.layers}" for b in model.blocks)
            words.append(f'--moe-layer-freq "({pattern})"')
    return words


def _megatron_unsaid(model: Model, plan: Plan) -> list[str]:
    """What Megatron-LM has no argument for."""
    mixers = {type(block.mixer).__name__ for block in model.blocks}
    latent = [block.mixer for block in model.blocks if isinstance(block.mixer, LatentAttention)]
    windows = [b.mixer.window for b in model.blocks if isinstance(b.mixer, Attention) and b.mixer.window]
    return [
        *([f"schedule {plan.schedule}"] if plan.schedule != "1f1b" else []),
        *(["recompute auto (it is settled by gambrel train)"] if plan.recompute == "auto" else []),
        *(["recompute operators (PyTorch's policy)"] if plan.recompute == "operators" else []),
        *(["recompute behind_attention (MaxText's policies)"] if plan.recompute == "behind_attention" else []),
        *(["recompute elementwise (its modules)"] if plan.recompute == "elementwise" else []),
        *(["offload activations"] if plan.offload == "activations" else []),
        *(["trainable lora"] if plan.trainable == "lora" else []),
        *([f"optimizer state in {plan.dtypes.optimizer}"] if plan.dtypes.optimizer != "fp32" else []),
        *(["mixers that differ by layer"] if len(mixers) > 1 or windows else []),
        *(["the indexer of sparse attention"] if any(mixer.index_topk for mixer in latent) else []),
    ]


def _megatron_choices(model: Model, plan: Plan) -> list[str]:
    """Interleaving, sharding, recomputation, overlap, offload and number format."""
    words: list[str] = []
    each = model.layers // (plan.pp * plan.virtual_stages)
    if plan.virtual_stages > 1:
        words.append(f"--num-layers-per-virtual-pipeline-stage {each}")
    if plan.sequence_parallel and plan.tp > 1:
        words.append("--sequence-parallel")
    if plan.recompute in ("full", "selective"):
        words.append(f"--recompute-granularity {plan.recompute}")
    if plan.recompute == "full" and plan.recompute_layers < 1.0:
        some = max(1, round(plan.recompute_layers * model.layers / (plan.pp * plan.virtual_stages)))
        words.append(f"--recompute-method block --recompute-num-layers {some}")
    elif plan.recompute == "full":
        words.append("--recompute-method uniform --recompute-num-layers 1")
    if plan.sharding == "zero1":
        words.append("--use-distributed-optimizer")
    elif plan.sharding != "none":
        strategy = "optim_grads" if plan.sharding == "zero2" else "optim_grads_params"
        words += ["--use-megatron-fsdp --use-distributed-optimizer", f"--data-parallel-sharding-strategy {strategy}"]
    ranks = (plan.dp or 1) * plan.cp
    if plan.sharding != "none" and plan.shard_degree and plan.shard_degree < ranks:
        words.append(f"--num-distributed-optimizer-instances {ranks // plan.shard_degree}")
    if plan.overlap:
        words.append("--overlap-grad-reduce")
        words += ["--overlap-param-gather"] if plan.sharding != "none" else []
    if plan.offload == "optimizer":
        words.append("--optimizer-cpu-offload")
    words += [] if plan.flash_attention else ["--attention-backend unfused"]
    words += ["--optimizer sgd"] if plan.optimizer == "sgd" else []
    words += ["--grad-reduce-in-bf16"] if plan.dtypes.gradients == "bf16" else []
    words.append(_MEGATRON_FORMATS.get(plan.dtypes.weights or "", "--bf16"))
    return [word for word in words if word]


def torchtitan(model: Model, plan: Plan, seq_len: int) -> str:
    """Overrides of a torchtitan configuration, one `--section.key value` a line."""
    ranks = (plan.dp or 1) * plan.cp
    sharded = plan.sharding == "zero3"
    degree = min(plan.shard_degree or ranks, ranks) if sharded else 1
    shard = max(1, degree // plan.cp) if sharded else 1
    replicate = (plan.dp or 1) // shard
    name = "interleaved" if plan.virtual_stages > 1 else plan.schedule
    recompute = {"full": "full", "selective": "selective", "operators": "selective"}.get(plan.recompute, "none")
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
    unsaid += [f"recompute {plan.recompute}"] if plan.recompute in ("behind_attention", "elementwise") else []
    unsaid += [f"schedule {plan.schedule}"] if name not in _SCHEDULES else []
    unsaid += ["offload optimizer"] if plan.offload == "optimizer" else []
    return "\n".join([*_unsaid(unsaid), *words])


def maxtext(model: Model, plan: Plan, seq_len: int) -> str:
    """A MaxText YAML that overrides configs/base.yml; all parallelism inside one slice."""
    heads, kv_heads, size, width = _shape(model)
    experts = _experts(model)
    devices = plan.tp * plan.pp * (plan.dp or 1) * plan.cp
    sharded = plan.sharding == "zero3"
    policies = {"full": "full", "selective": "minimal", "behind_attention": "custom"}
    recompute = policies.get(plan.recompute, "minimal_with_context")
    kept = ("context", "query_proj", "key_proj", "value_proj") if recompute == "custom" else ()
    dp = (plan.dp or 1) // (plan.ep if experts else 1)
    lines = {
        "base_emb_dim": model.hidden,
        "base_mlp_dim": width,
        "base_num_decoder_layers": model.layers,
        "base_num_query_heads": heads,
        "base_num_kv_heads": kv_heads,
        "head_dim": size,
        "vocab_size": model.vocab,
        "logits_via_embedding": model.tied,
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
        **dict.fromkeys(kept, "device"),
        "quantization": {"fp8": "fp8", "int8": "int8"}.get(plan.dtypes.weights or "", ""),
    }
    unsaid = [f"sharding {plan.sharding}"] if plan.sharding in ("zero1", "zero2") else []
    unsaid += ["recompute operators (PyTorch's policy)"] if plan.recompute == "operators" else []
    unsaid += ["recompute elementwise (Megatron's modules)"] if plan.recompute == "elementwise" else []
    unsaid += [f"schedule {plan.schedule}"] if plan.schedule != "1f1b" else []
    return "\n".join(
        [*_unsaid(unsaid), *(f"{key}: {value if value != '' else chr(34) * 2}" for key, value in lines.items())]
    )


FRAMEWORKS: dict[str, Callable[[Model, Plan, int], str]] = {
    "megatron": megatron,
    "torchtitan": torchtitan,
    "maxtext": maxtext,
}
