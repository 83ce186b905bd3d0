"""Configurations of torchtitan -> Model and Plan: its TOML files, its Python ones, and overrides `--section.key value`.

Names and defaults: torchtitan config/job_config.py (2025, TOML) and config/configs.py (2026, Python). Keys are told by their last
part; which section they stand in does not matter.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from ..errors import InputError
from .imported import Imported, Said, spread, with_lines
from .library import Library
from .megatron_fields import Arguments
from .megatron_text import Words
from .models import Model, Moe
from .plans import Dtypes, Plan

_MARK = re.compile(r"(?:data_parallel_(?:shard|replicate)_degree|pipeline_parallel_degree|tensor_parallel_degree)\b")
_OVERRIDE = re.compile(r"--([a-z_]+(?:\.[a-z_]+)+)(?:[= \t]+([^\s\\-][^\s\\]*|-1))?")
_KEY = re.compile(r"^[ \t]*([A-Za-z_]\w*)[ \t]*=", re.MULTILINE)
_FAMILIES = {
    "llama3": "llama-3.1",
    "llama4": "llama-4",
    "qwen3": "qwen3",
    "deepseek_v3": "deepseek-v3",
    "gpt_oss": "gpt-oss",
}
_WHOLE = {("deepseek_v3", "671B"): "deepseek-v3"}
_SCHEDULES = {
    "1F1B": ("1f1b", 1),
    "Interleaved1F1B": ("1f1b", 2),
    "GPipe": ("gpipe", 1),
    "ZBVZeroBubble": ("zb-v", 1),
    "DualPipeV": ("dualpipe", 1),
}
_RECOMPUTE = {"none": "none", "full": "full", "selective": "operators"}
_DEFAULT_SEQ_LEN = 2048


def looks_like(text: str) -> bool:
    """Does a text hold degrees of torchtitan?"""
    return bool(_MARK.search(text))


def imported_from(text: str, name: str, library: Library, model: str | None = None) -> Imported:
    """The training run of a configuration; model: its catalogue name, where flavour and name do not say it.

    Raises InputError with file, line and value for what is malformed or not modelled.
    """
    given = Arguments(Words(_values(text, name), []), name)
    network = _model(given, library, model)
    seq_len = given.count("demand.seq_len", "max_context_length", "seq_len")
    if seq_len is None:
        given.assume("seq_len", str(_DEFAULT_SEQ_LEN), "torchtitan's default")
    plan, devices = _plan(given, network, seq_len or _DEFAULT_SEQ_LEN)
    return Imported(
        kind="torchtitan",
        name=name,
        model=network,
        known=True,
        plan=plan if devices is None else spread(plan, devices, name),
        seq_len=seq_len or _DEFAULT_SEQ_LEN,
        devices=devices,
        precision=str(plan.dtypes.weights),
        understood=tuple(given.understood.values()),
        assumed=tuple(given.assumed),
        ignored=given.rest(),
    )


def _values(text: str, name: str) -> dict[str, Said]:
    """Values by the last part of their key, with lines. Raises InputError for a key that is set to two values."""
    found: dict[str, Said] = {}
    for key, value, line in _read(text, name):
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        earlier = found.setdefault(key, Said(shown, line))
        if earlier.text != shown and key in ("name", "mode", "enable"):
            continue  # of another section
        if earlier.text != shown:
            raise InputError(
                f"{name}:{line}: {key} = {shown[:60]}, but {earlier.text[:60]} in line {earlier.line}: several "
                "configurations. Keep one."
            )
    return found


def _read(text: str, name: str) -> Iterator[tuple[str, Any, int]]:
    overrides = list(with_lines(text, _OVERRIDE.finditer(text)))
    if overrides:
        for line, each in overrides:
            yield each[1].rsplit(".", 1)[-1], (each[2] or "true").strip("\"'"), line
        return
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if re.search(r"\w\(", text):
            yield from _python(text, name)
            return
        raise InputError(f"{name}: not valid TOML ({str(error)[:120]}). Mend the file.") from None
    lines: dict[str, int] = {}
    for line, each in with_lines(text, _KEY.finditer(text)):
        lines.setdefault(each[1], line)
    for section, values in document.items():
        for key, value in _flat(values if isinstance(values, dict) else {section: values}):
            line = lines.get(key, 1)
            yield ("model_name" if (section, key) == ("model", "name") else key), value, line
            if section.startswith("activation_checkpoint") and key == "mode":
                yield "activation_checkpoint_mode", value, line


def _flat(values: dict[str, Any], depth: int = 8) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            if depth:
                yield from _flat(value, depth - 1)
        else:
            yield key, value


def _python(text: str, name: str) -> Iterator[tuple[str, Any, int]]:
    """Keyword arguments that are constants, wherever a configuration is built."""
    try:
        tree = ast.parse(text)
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        place = f"{name}:{line}" if line else name
        raise InputError(f"{place}: neither TOML nor Python. Mend the file, or give the overrides.") from None
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        section = getattr(node.func, "id", getattr(node.func, "attr", ""))
        for word in node.keywords:
            try:
                value = ast.literal_eval(word.value)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                continue
            if word.arg is not None and not isinstance(value, dict | set):
                yield word.arg, value, word.value.lineno
                if "Checkpoint" in str(section) and word.arg == "mode":
                    yield "activation_checkpoint_mode", value, word.value.lineno


def _model(given: Arguments, library: Library, model: str | None) -> Model:
    if model is not None:
        return library.model(model)
    family, flavor = given.text("model", "model_name"), given.text("model", "flavor")
    if family is None or flavor is None:
        raise InputError(f"{given.name}: model and flavor are not both said. Add --model NAME.")
    wanted = _WHOLE.get((family, flavor)) or f"{_FAMILIES.get(family, family)}-{flavor}"
    try:
        return library.model(wanted)
    except InputError as error:
        raise InputError(f"{given.place('flavor')}: {error} Or say which it is: --model NAME.") from None


def _plan(given: Arguments, model: Model, seq_len: int) -> tuple[Plan, int | None]:
    """The plan, and the ranks if the degrees say how many."""
    tp, pp, cp, ep = (
        given.count(f"plan.{short}", f"{word}_parallel_degree") or 1
        for short, word in (("tp", "tensor"), ("pp", "pipeline"), ("cp", "context"), ("ep", "expert"))
    )
    replicate = given.count("plan.dp", "data_parallel_replicate_degree") or 1
    rest = given.values.get("data_parallel_shard_degree", Said("-1", 0)).text == "-1"
    if rest:
        given.text("plan.dp", "data_parallel_shard_degree")
        given.assume("data_parallel_shard_degree", "-1", "all ranks that the other degrees leave")
    shard = 1 if rest else given.count("plan.dp", "data_parallel_shard_degree") or 1
    dp = None if rest else replicate * shard
    split = given.count("plan.expert_tp", "expert_tensor_parallel_degree")
    experts = any(isinstance(block.ffn, Moe) for block in model.blocks)
    schedule, chunks = _schedule(given, pp)
    local = given.assumed_count("plan.micro_batch", 1, "one sequence", "local_batch_size", "batch_size")
    micro = given.count("plan.micro_batch", "pipeline_parallel_microbatch_size") or 1 if pp > 1 else local
    plan = Plan(
        tp=tp,
        pp=pp,
        dp=dp,
        cp=cp,
        ep=ep if experts else 1,
        expert_tp=split if experts and split and split > 1 and ep > 1 else None,
        schedule=schedule,
        virtual_stages=chunks,
        micro_batch=micro,
        global_batch=_batch(given, local, dp, seq_len),
        sharding="zero3" if rest or shard > 1 else "none",
        shard_degree=shard * cp if not rest and shard > 1 and replicate > 1 else None,
        sequence_parallel=True,
        **_recompute(given),
        dtypes=_dtypes(given),
    )
    return plan, None if dp is None else tp * pp * cp * dp


def _schedule(given: Arguments, pp: int) -> tuple[Any, int]:
    name = given.text("plan.schedule", "pipeline_parallel_schedule")
    if name is None or pp == 1:
        return "1f1b", 1
    if name not in _SCHEDULES:
        place = f"{given.place('pipeline_parallel_schedule')}: pipeline_parallel_schedule = {name[:60]!r}"
        raise InputError(f"{place} is not modelled. Use {', '.join(_SCHEDULES)}.")
    schedule, chunks = _SCHEDULES[name]
    if chunks > 1:
        given.assume("virtual_stages", str(chunks), "two chunks a rank, torchtitan's usual split")
    return schedule, chunks


def _batch(given: Arguments, local: int, dp: int | None, seq_len: int) -> int | None:
    """Sequences of a step: said, or out of its tokens, or one local batch a data-parallel rank."""
    tokens = given.count("plan.global_batch", "num_tokens_per_train_step")
    if tokens is not None:
        return max(1, tokens // seq_len)
    if given.values.get("global_batch_size", Said("-1", 0)).text != "-1":
        return given.count("plan.global_batch", "global_batch_size")
    given.assume("global_batch_size", "", "one local batch a data-parallel rank")
    return None if dp is None else local * dp


def _recompute(given: Arguments) -> dict[str, Any]:
    mode = given.text("plan.recompute", "activation_checkpoint_mode", "mode")
    if mode is None:
        given.assume("activation_checkpoint.mode", "selective", "torchtitan's default")
    if mode is not None and mode not in _RECOMPUTE:
        name = "activation_checkpoint_mode" if "activation_checkpoint_mode" in given.values else "mode"
        raise InputError(f"{given.place(name)}: mode = {mode[:60]!r} is not known. Use {', '.join(_RECOMPUTE)}.")
    option = given.text("plan.recompute", "selective_ac_option")
    if mode == "selective" and option is not None and option.isdecimal() and 0 < int(option) < 1000:
        return {"recompute": "full", "recompute_layers": 1.0 / int(option)}
    return {"recompute": _RECOMPUTE[mode or "selective"]}


def _dtypes(given: Arguments) -> Dtypes:
    converters = given.text("plan.dtypes.weights", "converters") or ""
    fp8 = "float8" in given.values.get("converters", Said(converters, 0)).text
    reduced = given.text("plan.dtypes.gradients", "mixed_precision_reduce")
    gradients = "bf16" if reduced == "bfloat16" else "fp32"
    return Dtypes.model_validate({"weights": "fp8" if fp8 else "bf16", "gradients": gradients})
