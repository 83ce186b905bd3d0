"""Arguments of Megatron-LM (and keys of NeMo that mean the same) -> Model and Plan; every field is accounted for.

Meanings and defaults: Megatron-LM megatron/training/arguments.py and megatron/core/transformer/transformer_config.py (2026).
"""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from .imported import Imported, Note, known_model, spread
from .library import Library
from .megatron_fields import Arguments
from .megatron_model import model_of
from .megatron_text import measured, words_of
from .models import Model, Moe
from .plans import Dtypes, Plan

REFUSED = {  # layers that are not modelled, and the values that mean "not used"
    "hybrid_override_pattern": "layers of a hybrid model",
    "is_hybrid_model": "layers of a hybrid model",
    "retro_add_retriever": "a retriever",
    "heterogeneous_layers_config_path": "layers that differ one by one",
    "experimental_attention_variant": "an experimental attention",
    "window_size": "a sliding window",
}


def imported_from(text: str, name: str, library: Library) -> Imported:
    """The training run of a launch script, a list of flags, a log or NeMo's YAML; `name` stands for the file in errors.

    Raises InputError with file, line and value for what is malformed, missing or not modelled.
    """
    given = Arguments(words_of(text, name), name)
    model, known = _model(given, library)
    seq_len = given.count("demand.seq_len", "seq_length", "encoder_seq_length", "max_sequence_length")
    if seq_len is None:
        raise InputError(f"{name}: seq_length is missing. Add --seq-length.")
    plan = _plan(given, model)
    devices = _world(given)
    plan = plan if devices is None else spread(plan, devices, name)
    found = measured(text, name, plan.global_batch)
    return Imported(
        kind="megatron-log" if found else "megatron",
        name=name,
        model=model,
        known=known,
        plan=plan,
        seq_len=seq_len,
        devices=devices,
        precision=str(plan.dtypes.weights),
        step_time_s=found.step_time_s if found else None,
        tflops_per_device=found.tflops_per_device if found else None,
        measured_as=found.note if found else "",
        understood=tuple(given.understood.values()),
        assumed=tuple(given.assumed),
        ignored=given.rest(),
    )


def _model(given: Arguments, library: Library) -> tuple[Model, bool]:
    """The catalogue's model with the dimensions that are given and True, else one made of them and False."""
    for key, what in REFUSED.items():
        if key in given.values and given.values[key].text.lower() not in ("none", "false", "0", ""):
            raise InputError(
                f"{given.place(key)}: {key} = {given.values[key].text!r}: {what} is not modelled. Write YAML."
            )
    model = model_of(given, Path(given.name).stem)
    known = known_model(library, model)
    if known is not None:
        given.assume("model", known.id, "the catalogue's model with these dimensions")
    if not model.vocab:
        of = (
            "of the catalogue's model"
            if known
            else "the tokenizer decides it, and the file does not say: no embeddings"
        )
        given.assume("vocab_size", str(known.vocab if known else 0), of)
    return known or model, known is not None


def _plan(given: Arguments, model: Model) -> Plan:
    tp = given.assumed_count("plan.tp", 1, "Megatron-LM's default", "tensor_model_parallel_size")
    pp = given.assumed_count("plan.pp", 1, "Megatron-LM's default", "pipeline_model_parallel_size")
    batch = given.count("plan.global_batch", "global_batch_size")
    if batch is None:
        given.assume("global_batch_size", "", "Megatron-LM's default: micro_batch_size times the data-parallel ranks")
    recompute, share = _recompute(given, model, pp)
    sequence_parallel = given.flag("plan.sequence_parallel", "sequence_parallel")
    sharding = _sharding(given)
    cp = given.count("plan.cp", "context_parallel_size") or 1
    return Plan(
        tp=tp,
        pp=pp,
        cp=cp,
        **_experts(given, model, tp),
        virtual_stages=_virtual_stages(given, model, pp),
        micro_batch=given.assumed_count("plan.micro_batch", 1, "one sequence", "micro_batch_size"),
        global_batch=batch,
        sharding=sharding,
        shard_degree=_shard_degree(given, cp),
        recompute=recompute,
        recompute_layers=share,
        sequence_parallel=sequence_parallel or tp == 1,
        offload="optimizer" if given.flag("plan.offload", "optimizer_cpu_offload") else "none",
        overlap=given.flag("plan.overlap", "overlap_grad_reduce"),
        flash_attention=_flash(given),
        optimizer=_optimizer(given),
        dtypes=_dtypes(given),
    )


def _experts(given: Arguments, model: Model, tp: int) -> dict[str, int | None]:
    """ep and expert_tp. Megatron-LM splits an expert over the tensor-parallel ranks unless told otherwise."""
    ep = given.count("plan.ep", "expert_model_parallel_size") or 1
    split = given.count("plan.expert_tp", "expert_tensor_parallel_size")
    if not any(isinstance(block.ffn, Moe) for block in model.blocks):
        return {"ep": 1, "expert_tp": None}
    if split is None:
        split = tp
        if tp > 1:
            given.assume("expert_tensor_parallel_size", str(tp), "Megatron-LM's default: as tensor_model_parallel_size")
    usual = 1 if ep > 1 else tp
    return {"ep": ep, "expert_tp": None if split == usual else split}


def _virtual_stages(given: Arguments, model: Model, pp: int) -> int:
    chunks = given.count(
        "plan.virtual_stages",
        "num_virtual_stages_per_pipeline_rank",
        "virtual_pipeline_model_parallel_size",
    )
    each = given.count("plan.virtual_stages", "num_layers_per_virtual_pipeline_stage")
    if chunks is None and each is not None:
        chunks, left = divmod(model.layers, pp * each)
        if left:
            raise InputError(
                f"{given.place('num_layers_per_virtual_pipeline_stage')}: num_layers_per_virtual_pipeline_stage = {each}: "
                f"{pp} pipeline ranks of such chunks do not make {model.layers} layers. Mend one of them."
            )
    return chunks if chunks is not None and pp > 1 else 1


def _recompute(given: Arguments, model: Model, pp: int) -> tuple[str, float]:
    """Kind of recomputation and the share of the layers. `block` recomputes so many layers of each pipeline chunk."""
    granularity = given.text("plan.recompute", "recompute_granularity", "activations_checkpoint_granularity")
    light = given.flag("plan.recompute", "recompute_activations")
    method = given.text("plan.recompute", "recompute_method", "activations_checkpoint_method")
    layers = given.count("plan.recompute_layers", "recompute_num_layers", "activations_checkpoint_num_layers")
    if granularity is None and not light:
        return "none", 1.0
    if granularity not in (None, "full", "selective"):
        name = next(n for n in ("recompute_granularity", "activations_checkpoint_granularity") if n in given.values)
        raise InputError(f"{given.place(name)}: {name} = {granularity!r} is not known. Use full or selective.")
    if granularity != "full":
        return "selective", 1.0
    if method != "block" or layers is None:
        return "full", 1.0
    held = model.layers / (pp * _virtual_stages(given, model, pp))
    return "full", min(1.0, layers / held)


def _sharding(given: Arguments) -> str:
    optimizer = given.flag("plan.sharding", "use_distributed_optimizer")
    strategy = given.text("plan.sharding", "data_parallel_sharding_strategy")
    fsdp = given.flag("plan.sharding", "use_megatron_fsdp", "use_custom_fsdp")
    if given.flag("plan.sharding", "use_torch_fsdp2"):
        return "zero3"
    if fsdp:
        stages = {"no_shard": "none", "optim": "zero1", "optim_grads": "zero2", "optim_grads_params": "zero3"}
        if strategy is not None and strategy not in stages:
            raise InputError(
                f"{given.place('data_parallel_sharding_strategy')}: data_parallel_sharding_strategy = {strategy!r} is not "
                f"known. Use {', '.join(stages)}."
            )
        return stages[strategy or "no_shard"]
    for name, said in given.values.items():
        if said.text == "distributed_fused_adam":
            optimizer = given.text("plan.sharding", name) is not None
    return "zero1" if optimizer else "none"


def _shard_degree(given: Arguments, cp: int) -> int | None:
    """Ranks of one instance of the distributed optimizer, where there are several and the file says how many ranks."""
    instances = given.count("plan.shard_degree", "num_distributed_optimizer_instances") or 1
    devices = _world(given)
    if instances == 1 or devices is None:
        return None
    ranks = devices // (_degree(given, "tensor_model_parallel_size") * _degree(given, "pipeline_model_parallel_size"))
    if ranks % instances:
        raise InputError(
            f"{given.place('num_distributed_optimizer_instances')}: num_distributed_optimizer_instances = {instances} does "
            f"not divide the {ranks} data-parallel ranks ({cp} of a context). Mend it."
        )
    return ranks // instances


def _degree(given: Arguments, name: str) -> int:
    becomes = given.understood[name].meaning if name in given.understood else ""
    return given.count(becomes, name) or 1


def _flash(given: Arguments) -> bool:
    """Fused attention, unless the file asks for another or (in old logs, which print it) turned it off."""
    backend = given.text("plan.flash_attention", "attention_backend")
    kernel = given.flag("plan.flash_attention", "use_flash_attn", "use_flash_attention", "flash_attention")
    if backend is not None:
        return backend.split(".")[-1].lower() not in ("unfused", "local")
    return kernel or not given.full or given.text("plan.flash_attention", "transformer_impl") == "transformer_engine"


def _optimizer(given: Arguments) -> str:
    name = given.text("plan.optimizer", "optimizer")
    if name in (None, "adam", "sgd"):
        return name or "adam"
    given.assume("optimizer", str(name), "priced as adam")
    return "adam"


def _dtypes(given: Arguments) -> Dtypes:
    """Formats that matrices multiply in, and that gradients are summed in."""
    fp4 = given.text("plan.dtypes.weights", "fp4_format", "fp4")
    fp8 = given.text("plan.dtypes.weights", "fp8_format", "fp8")
    half = given.flag("plan.dtypes.weights", "bf16"), given.flag("plan.dtypes.weights", "fp16")
    precision = (given.text("plan.dtypes.weights", "precision", "params_dtype") or "").lower()
    gradients = given.flag("plan.dtypes.gradients", "grad_reduce_in_bf16")
    weights = "fp32"
    if fp4 and fp4.lower() not in ("false", "none"):
        weights = "fp4"
    elif fp8 and fp8.lower() not in ("false", "none"):
        weights = "fp8"
    elif half[0] or "bf16" in precision or "bfloat16" in precision:
        weights = "bf16"
    elif half[1] or "16" in precision:
        weights = "fp16"
    elif not precision and not given.full:
        given.assume("bf16", "", "no number format is given: Megatron-LM's default, fp32")
    return Dtypes.model_validate({"weights": weights, "gradients": "bf16" if gradients else "fp32"})


def _world(given: Arguments) -> int | None:
    """Ranks of the run: printed, or nodes times processes of a node in the launcher's words."""
    world = _launched(given, "world_size", "WORLD_SIZE")
    nodes = _launched(given, "nnodes", "num_nodes")
    each = _launched(given, "nproc_per_node", "num_gpus_per_node", "devices")
    if world is not None or each is None or (nodes is None and "nnodes" in given.values):
        return world
    if nodes is None:
        given.assume("nnodes", "1", "the launcher's default: one node")
    return each * (nodes or 1)


def _launched(given: Arguments, *names: str) -> int | None:
    """A count of the launcher's; one that only its environment knows is listed, not guessed."""
    name = next((each for each in names if each in given.values), None)
    if name is None or given.values[name].text.split(" ")[0].isdecimal():
        return given.count("devices", *names)
    note = Note(name, given.values[name].text, "known only where it runs: give --devices")
    given.understood.setdefault(name, note)
    if note not in given.assumed:
        given.assumed.append(note)
    return None
