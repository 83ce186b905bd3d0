"""Rows of measured kernels -> Kernels, priced once for each (chip, stack)."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from ..catalog.calibrations import Stack
from ..catalog.chips import Chip
from ..cost import BASES, Machine, basis, interval
from ..cost.machine import MEMORY_RATE
from ..cost.parameters import COLLECTIVE, MATMUL, column
from ..errors import InputError, UnknownFigure
from ..lowering.kernels import DTYPE_IDS, Kernels
from ..lowering.kinds import KIND_IDS, PART_IDS, PHASE_IDS
from .context import Context
from .predictions import Predictions, Progress
from .rules import BoolArray
from .tables import FloatArray, Skip, Table

# label of a table -> (format multiplied in, format stored)
FORMATS = {
    "bfloat16": ("bf16", "bf16"),
    "half": ("fp16", "fp16"),
    "float16": ("fp16", "fp16"),
    "fp8": ("fp8", "fp8"),
    "fp8_block": ("fp8", "fp8_block"),
    "nvfp4": ("fp4", "fp4"),
    "int8": ("int8", "int8"),
    "int8_wo": ("bf16", "int8"),
    "int4_wo": ("bf16", "int4"),
    "w4a16_mxfp4": ("bf16", "fp4"),
}
_COLLECTIVES = {"alltoall": "all_to_all"}
_HOST = column(COLLECTIVE, "host_us")
_HOST_US, _HOST_FEW_US, _HOST_ODD_US = (column(MATMUL, f"{name}host_us") for name in ("", "few_rows_", "odd_"))
# vLLM: Cutlass for n that is no multiple of 64 or k of 128, else FlashInfer for few rows (where there is one), else DeepGEMM
BLOCK, BLOCK_COLUMNS, FEW_ROWS = 128, 64, 32
POPULARITY = 0.01, 2.0  # least and largest of that generator's where there are no more pairs than experts
_BYTES = {"bf16": 2.0, "fp16": 2.0, "int8": 1.0, "fp8": 1.0, "fp8_block": 1.0, "fp4": 0.5}


def predict(table: Table, context: Context, progress: Progress) -> Predictions:
    """Time of every row [us]. A row is skipped if the catalogue lacks its chip or stack, or its shape is not that of a kernel."""
    n = len(table)
    lowered, reason = kernels_of(table)
    time, low, high = (np.full(n, math.nan) for _ in range(3))
    bases, eager = [""] * n, launched_alone(table)
    done = 0
    for (device, stack), members in _groups(table).items():
        rows = np.array([i for i in members if not reason[i]], dtype=np.intp)
        try:
            chip = context.chip(device)
            packed = context.machine(chip, stack_of(stack, chip, context))
            if rows.size:
                time[rows], low[rows], high[rows], names = price(lowered.take(rows), packed, context)
                alone = rows[eager[rows]]
                for values in (time, low, high):
                    values[alone] = launched_alone_s(values[alone], lowered.take(alone), packed)
                for index, name in zip(rows, names, strict=True):
                    bases[index] = name
        except Skip as skip:
            _mark(reason, members, str(skip))
        except UnknownFigure as error:
            _mark(reason, members, f"{error.key} is unknown")
        done += len(members)
        progress(done, n)
    return Predictions({"time_us": time * 1e6}, tuple(reason), low * 1e6, high * 1e6, tuple(bases))


def kernels_of(table: Table) -> tuple[Kernels, list[str]]:
    """A kernel for each row, and why a row is none ("" where it is one)."""
    reason = [""] * len(table)
    return _LOWER[table.kind.name](table, reason), reason


def launched_alone(table: Table) -> BoolArray:
    """True where a time holds the launch by the host [n]: collectives labelled eager, with the copy into a registered buffer, and
    vLLM's products of 128-wide blocks, which its benchmark calls one by one."""
    return np.array([name.endswith(("_eager", "Fp8BlockScaledMMKernel")) for name in table.column("kernel")], bool)


def launched_alone_s(times: FloatArray, kernels: Kernels, packed: Machine) -> FloatArray:
    """Seconds of kernels of `launched_alone`, from those of the same in a graph: no less than the host takes from one call to
    the next. A collective is also copied into the registered buffer."""
    values = packed.parameters[kernels.kind, kernels.dtype, kernels.stored]
    gemm = kernels.kind == KIND_IDS["gemm"]
    dims = kernels.dims
    odd = ((dims[:, 1] % BLOCK_COLUMNS != 0) | (dims[:, 2] % BLOCK != 0)) * _HOST_ODD_US
    few = ((dims[:, 0] < FEW_ROWS) & (odd == 0) & (values[:, _HOST_FEW_US] > 0.0)) * _HOST_FEW_US
    at = np.where(gemm, np.maximum(np.where(odd + few == 0, _HOST_US, 0), odd + few), _HOST)
    copied = np.where(gemm, 0.0, 2.0 * dims[:, 0] / packed.chip_values[MEMORY_RATE])
    out: FloatArray = np.maximum(times + copied, values[np.arange(times.size), at] * 1e-6)
    return out


def stack_of(label: str, chip: Chip, context: Context) -> Stack:
    """The stack whose calibration prices rows of that label; `nccl` is what a stack without kernels of its own runs."""
    family = context.family(chip)
    return context.stack(family.default_training_stack if label == "nccl" else label, family.default_stack)


def price(kernels: Kernels, packed: Machine, context: Context) -> tuple[FloatArray, FloatArray, FloatArray, list[str]]:
    """(seconds, low, high, basis) of each kernel."""
    times = context.seconds(kernels, packed)
    low, high = interval(kernels, packed, times)
    return times, low, high, [BASES[index] for index in basis(kernels, packed)]


def _mark(reason: list[str], members: Sequence[int], text: str) -> None:
    for index in members:
        reason[index] = reason[index] or text


def _groups(table: Table) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(table.column("device"), table.column("stack"), strict=True)):
        groups[key].append(index)
    return groups


def _formats(table: Table, column: str, reason: list[str]) -> tuple[FloatArray, FloatArray]:
    """Ids of the formats multiplied in and stored, as `column` labels them."""
    labels = table.column(column)
    for index, label in enumerate(labels):
        if label not in FORMATS:
            reason[index] = reason[index] or f"format {label!r} is not known"
    pairs = [FORMATS.get(label, ("bf16", "bf16")) for label in labels]
    return np.array([DTYPE_IDS[a] for a, _ in pairs]), np.array([DTYPE_IDS[b] for _, b in pairs])


def _positive(table: Table, names: Sequence[str]) -> dict[str, FloatArray]:
    """Columns as numbers above 0. Raises InputError for a shape that cannot be."""
    out = {name: table.numbers(name) for name in names}
    for name, values in out.items():
        bad = np.flatnonzero(~(values > 0))
        if bad.size:
            index = int(bad[0])
            text = table.column(name)[index]
            raise InputError(f"{table.place(index)}: {name} = {text!r} is not a size. Write a number above 0.")
    return out


def _kernels(kinds: FloatArray, dtype: FloatArray, stored: FloatArray, dims: Sequence[FloatArray | float]) -> Kernels:
    n = len(kinds)
    table = np.zeros((n, 8))
    for index, values in enumerate(dims):
        table[:, index] = values
    return Kernels(
        kind=kinds.astype(np.int16),
        dtype=dtype.astype(np.int16),
        stored=stored.astype(np.int16),
        dims=table,
        count=np.ones(n),
        part=np.full(n, PART_IDS["ffn"], dtype=np.int16),
        phase=np.full(n, PHASE_IDS["prefill"], dtype=np.int16),
        stage=np.zeros(n, dtype=np.int32),
        owner=np.zeros(n, dtype=np.int32),
        site=np.zeros(n, dtype=np.int16),
    )


def collectives(names: Sequence[str], dims: FloatArray) -> Kernels:
    """Collectives by name (`all_reduce`, ...) and dims[n, 4]: bytes, ranks, stride, skew. Raises Skip for an unknown name."""
    for name in names:
        if name not in KIND_IDS:
            raise Skip(f"collective {name!r} is not known")
    kinds = np.array([KIND_IDS[name] for name in names], dtype=np.float64)
    format_ids = np.full(len(names), DTYPE_IDS["bf16"])
    return _kernels(kinds, format_ids, format_ids, list(dims.T))


def _of_kind(table: Table, kind: str) -> FloatArray:
    return np.full(len(table), KIND_IDS[kind], dtype=np.float64)


def _gemm(table: Table, reason: list[str]) -> Kernels:
    d = _positive(table, ("m", "n", "k"))
    dtype, stored = _formats(table, "dtype", reason)
    return _kernels(_of_kind(table, "gemm"), dtype, stored, (d["m"], d["n"], d["k"], 1.0))


def _attention_prefill(table: Table, reason: list[str]) -> Kernels:
    d = _positive(table, ("batch", "seq_q", "seq_kv", "heads", "kv_heads", "head_dim"))
    dtype, _ = _formats(table, "dtype", reason)
    _, stored = _formats(table, "kv_dtype", reason)
    shape = (d["batch"], d["seq_q"], d["seq_kv"], d["heads"], d["kv_heads"], d["head_dim"], 1.0, 0.0)
    return _kernels(_of_kind(table, "attention_prefill"), dtype, stored, shape)


def _attention_decode(table: Table, reason: list[str]) -> Kernels:
    d = _positive(table, ("batch", "kv_len", "heads", "kv_heads", "head_dim"))
    dtype, _ = _formats(table, "dtype", reason)
    _, stored = _formats(table, "kv_dtype", reason)
    size = d["head_dim"]
    shape = (d["batch"], d["kv_len"], d["heads"], d["kv_heads"], size, size, 2.0 * size)
    return _kernels(_of_kind(table, "attention_decode"), dtype, stored, shape)


def nongated(table: Table) -> BoolArray:
    """True where an expert has two matrices instead of three: kernels that say so, and the unlabelled rows of vLLM 0.24 for
    models whose experts are plain (22 of 512 experts a token, or 2688 x 1856)."""
    names = np.array(["nongated" in text for text in table.column("kernel")], bool)
    vllm = np.array([s == "vllm" for s in table.column("stack")], bool)
    vllm &= np.array([v.startswith("0.24") for v in table.column("stack_version")], bool)
    many = (table.numbers("topk") == 22) & (table.numbers("experts") == 512)
    plain: BoolArray = names | (vllm & (many | ((table.numbers("hidden") == 2688) & (table.numbers("inter") == 1856))))
    return plain


def heaped(table: Table, skew: FloatArray) -> FloatArray:
    """Rows of the first rank [n] where there are no more pairs than experts, else 0: the generator of popularities that vLLM 0.14
    and TensorRT-LLM 1.0 were measured with gives pairs that no rounded share takes to the first experts, one each."""
    version = table.column("stack_version")
    vllm, trtllm = (np.array([v.startswith(start) for v in version], bool) for start in ("0.14", "1.0."))
    experts, ranks = table.numbers("experts"), table.numbers("ep")
    pairs = table.numbers("tokens") * table.numbers("topk")
    low, high = POPULARITY
    e = 1.0 - np.where(skew > 0.0, skew, 0.5)
    f = e + 1.0
    spread, mass = high**e - low**e, (high**f - low**f) / f
    mean = mass / spread * e
    one = np.clip(0.5 * mean * experts / pairs, low, high)  # popularity from which a share rounds to a row, and to two
    two = np.clip(1.5 * mean * experts / pairs, low, high)
    alone = experts * (two**e - one**e) / spread
    rounded = np.minimum(alone + pairs * (high**f - two**f) / f / mass, pairs)
    local, touched = experts / ranks, (high**e - one**e) / spread
    first = np.minimum(pairs - rounded, local)
    rows = first + (local - first) * touched
    early = (vllm & (pairs <= experts)) | (trtllm & (one >= high))
    return np.where(early & (skew > 0.0), np.maximum(rows, 1.0), 0.0)


def _moe(table: Table, reason: list[str]) -> Kernels:
    """One rank of ep x tp: sizes are the model's. The rows of a rank are the mean over the ep ranks; `skew` makes one busier,
    -1 gives every expert the same."""
    d = _positive(table, ("tokens", "hidden", "inter", "topk", "experts", "tp", "ep"))
    dtype, stored = _formats(table, "dtype", reason)
    skew = np.zeros(len(table))
    for index, label in enumerate(table.column("routing")):
        match = re.fullmatch(r"power_law_([0-9.]+)", label)
        if match:
            skew[index] = float(match[1])
        elif label == "balanced":
            skew[index] = -1.0
        else:
            reason[index] = reason[index] or f"routing {label!r} is not known"
    matrices = np.where(nongated(table), 2.0, 3.0)
    pairs, local = d["tokens"] * d["topk"], d["experts"] / d["ep"]
    heap = heaped(table, skew)
    rows = np.where(heap > 0.0, heap, pairs / d["ep"])
    skew[heap > 0.0] = -1.0
    shape = (rows, d["hidden"], d["inter"] / d["tp"], local, skew, matrices, -d["topk"], 1.0 / d["ep"])
    return _kernels(_of_kind(table, "moe"), dtype, stored, shape)


def _collective(table: Table, reason: list[str]) -> Kernels:
    d = _positive(table, ("num_devices", "elements"))
    dtype, stored = _formats(table, "dtype", reason)
    size = np.array([_BYTES.get(FORMATS.get(label, ("bf16", ""))[0], 2.0) for label in table.column("dtype")])
    kinds = np.zeros(len(table))
    for index, op in enumerate(table.column("op")):
        name = _COLLECTIVES.get(op, op)
        if name not in KIND_IDS:
            reason[index] = reason[index] or f"collective {op!r} is not known"
        kinds[index] = KIND_IDS.get(name, KIND_IDS["all_reduce"])
    return _kernels(kinds, dtype, stored, (d["elements"] * size, d["num_devices"], 1.0, 1.0))


_LOWER: dict[str, Callable[[Table, list[str]], Kernels]] = {
    "gemm": _gemm,
    "attention_prefill": _attention_prefill,
    "attention_decode": _attention_decode,
    "moe": _moe,
    "collective": _collective,
}
