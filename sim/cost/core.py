"""Kernels x Machine -> seconds, joules. One compiled loop over rows; docs/cost.md."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownFigure
from ..jit import inline, jit
from ..lowering.kernels import DTYPE_IDS, DTYPE_NAMES, ELEMENT_BYTES, Kernels
from ..lowering.kinds import KIND_IDS, KINDS
from .attention import DECODE_QUERY, NARROW, decode_s, linear_s, prefill_s
from .collectives import READY, collective_s, ready
from .experts import experts_s
from .machine import CLOCK_HZ, IDLE_W, Machine
from .matmul import matmul_s
from .memory import gather_constants, gathers_s, memory_s, optimizer_s
from .power import at_clock, clock_share, draw_w

FloatArray = NDArray[np.float64]
Ids = NDArray[np.int16]
GEMM, PREFILL, BACKWARD, DECODE = (
    KIND_IDS[name] for name in ("gemm", "attention_prefill", "attention_backward", "attention_decode")
)
LINEAR, MOE, MEMORY, GATHER, OPTIMIZER = (
    KIND_IDS[name] for name in ("linear_attention", "moe", "memory", "gather", "optimizer")
)
ALL_REDUCE = KIND_IDS["all_reduce"]
BLOCK = 256  # gathers that are priced together
ACCUMULATED_BYTES = 2.0  # results leave a product in bf16, whatever it multiplied


@inline
def _attention_s(
    key: tuple[int, int, int],
    d: FloatArray,
    inside: tuple[float, float, float, float, float],
    parameters: FloatArray,
    chip: FloatArray,
    mechanism: int,
) -> float:
    """Prefill, backward and decode, by the kernel and at the rate that the stack chooses. key: kind, dtype, stored; inside: as
    elsewhere, and the rate of the stored format; parameters: of the machine. No tuple holds an array: that costs a quarter."""
    p = parameters[key]
    if key[0] == PREFILL and d[1] <= p[DECODE_QUERY]:  # so few new tokens run on the decode kernel
        p = parameters[DECODE, key[1], key[2]]
        used = (inside[0], inside[1], max(inside[2], inside[4]) if p[NARROW] > 0.0 else inside[2], inside[3])
        return decode_s((d[0], d[2], d[1] * d[3], d[4], d[5], d[5], 2.0 * d[5]), used, p, chip, mechanism)
    used = (inside[0], inside[1], max(inside[2], inside[4]) if p[NARROW] > 0.0 else inside[2], inside[3])
    if key[0] == DECODE:
        return decode_s(d, used, p, chip, mechanism)
    return prefill_s(d, used, p, chip, mechanism)


@inline
def kernel_s(kind: int, dtype: int, stored: int, d: FloatArray, machine: Machine) -> float:
    """Time of one kernel, run alone and warm [s]; NaN if the chip's rate for its dtype is unknown. d: dims of its kind.
    May be called from compiled code of other rooms."""
    p = machine.parameters[kind, dtype, stored]
    chip = machine.chip_values
    if kind == MEMORY:
        return memory_s(d, p, chip)
    if kind == GATHER:
        out = np.empty(1)
        gathers_s(d.reshape(1, d.size), np.zeros(1, np.intp), gather_constants(p, chip), np.empty((2, 1)), out)
        return float(out[0])
    if kind == OPTIMIZER:
        return optimizer_s(d, p, chip)
    if kind >= ALL_REDUCE:
        prepared = np.empty(READY)
        ready(p, chip[CLOCK_HZ], prepared)
        return collective_s((kind - ALL_REDUCE, ELEMENT_BYTES[dtype]), d, prepared, machine.levels)
    active = ELEMENT_BYTES[dtype]
    inside = (active, ELEMENT_BYTES[stored], machine.rates[dtype], max(active, ACCUMULATED_BYTES))
    if kind == GEMM:
        return matmul_s(d, inside, p, chip, machine.mechanism)
    if kind == MOE:
        return experts_s(d, inside, p, chip, machine.mechanism)
    if kind == LINEAR:
        return linear_s(d, inside, p, chip)
    key = (int(kind), int(dtype), int(stored))
    return _attention_s(key, d, (*inside, machine.rates[stored]), machine.parameters, chip, machine.mechanism)


@inline
def _gathers(kind: Ids, dtype: Ids, stored: Ids, dims: FloatArray, machine: Machine, out: FloatArray) -> None:
    """Times of the gathers among the rows, BLOCK at a time; those of a block are of one format."""
    at, room, found = np.empty(BLOCK, np.intp), np.empty((2, BLOCK)), 0
    for i in range(kind.size):
        if kind[i] != GATHER:
            continue
        if found == BLOCK or (found > 0 and (dtype[i] != dtype[at[0]] or stored[i] != stored[at[0]])):
            p = machine.parameters[GATHER, dtype[at[0]], stored[at[0]]]
            gathers_s(dims, at[:found], gather_constants(p, machine.chip_values), room, out)
            found = 0
        at[found] = i
        found += 1
    if found > 0:
        p = machine.parameters[GATHER, dtype[at[0]], stored[at[0]]]
        gathers_s(dims, at[:found], gather_constants(p, machine.chip_values), room, out)


@inline
def _collectives(kind: Ids, dtype: Ids, stored: Ids, dims: FloatArray, machine: Machine, out: FloatArray) -> None:
    """Times of the collectives among the rows; what those of a kind and format have in common is worked out once."""
    last, prepared = (-1, -1, -1), np.empty(READY)
    for i in range(kind.size):
        if kind[i] >= ALL_REDUCE:
            key = (int(kind[i]), int(dtype[i]), int(stored[i]))
            if key != last:
                ready(machine.parameters[key], machine.chip_values[CLOCK_HZ], prepared)
                last = key
            which = (kind[i] - ALL_REDUCE, ELEMENT_BYTES[dtype[i]])
            out[i] = collective_s(which, dims[i], prepared, machine.levels)


@jit
def seconds_of_rows(kind: Ids, dtype: Ids, stored: Ids, dims: FloatArray, machine: Machine) -> FloatArray:
    """Time of each row [s], float64[n]; the compiled entry behind `seconds`."""
    out = np.empty(kind.size)
    parameters, chip, rates, mechanism = machine.parameters, machine.chip_values, machine.rates, machine.mechanism
    gathers, collectives = 0, 0
    for i in range(kind.size):
        if kind[i] == GATHER:
            gathers += 1
        elif kind[i] == MEMORY:  # not through kernel_s: handing a machine over costs ten times the formula
            out[i] = memory_s(dims[i], parameters[MEMORY, dtype[i], stored[i]], chip)
        elif kind[i] == OPTIMIZER:
            out[i] = optimizer_s(dims[i], parameters[OPTIMIZER, dtype[i], stored[i]], chip)
        elif kind[i] >= ALL_REDUCE:
            collectives += 1
        elif PREFILL <= kind[i] <= DECODE:
            active = ELEMENT_BYTES[dtype[i]]
            inside = (
                active,
                ELEMENT_BYTES[stored[i]],
                rates[dtype[i]],
                max(active, ACCUMULATED_BYTES),
                rates[stored[i]],
            )
            key = (int(kind[i]), int(dtype[i]), int(stored[i]))
            out[i] = _attention_s(key, dims[i], inside, parameters, chip, mechanism)
        elif kind[i] == GEMM or kind[i] == MOE:
            active = ELEMENT_BYTES[dtype[i]]
            used = (active, ELEMENT_BYTES[stored[i]], rates[dtype[i]], max(active, ACCUMULATED_BYTES))
            p = parameters[kind[i], dtype[i], stored[i]]
            if kind[i] == GEMM:
                out[i] = matmul_s(dims[i], used, p, chip, mechanism)
            else:
                out[i] = experts_s(dims[i], used, p, chip, mechanism)
        else:
            out[i] = kernel_s(kind[i], dtype[i], stored[i], dims[i], machine)
    if gathers > 0:
        _gathers(kind, dtype, stored, dims, machine, out)
    if collectives > 0:
        _collectives(kind, dtype, stored, dims, machine, out)
    return out


@jit
def draw_of_rows(seconds: FloatArray, work: FloatArray, dtype: Ids, machine: Machine) -> FloatArray:
    """Draw of a rank during each row, at its full clock [W]; work[n, 3]: flops, bytes of memory, bytes over links."""
    out = np.empty(seconds.size)
    for i in range(seconds.size):
        rate = machine.rates[dtype[i]]
        done = (work[i, 0], work[i, 1], work[i, 2])
        out[i] = draw_w(max(seconds[i], 1e-12), done, rate if rate > 0.0 else 1.0, machine.power, machine.chip_values)
    return out


def seconds(kernels: Kernels, machine: Machine) -> FloatArray:
    """Time of each kernel, run alone and warm [s], float64[n]. Valid for one queue; contention is the engine's.

    Raises UnknownFigure, naming the key, if a row needs a rate that the chip leaves null. Source: docs/cost.md.
    """
    out = _full_clock_s(kernels, machine)
    if machine.clock == 1.0:
        return _at_site(kernels, machine, out)
    slow = seconds_of_rows(kernels.kind, kernels.dtype, kernels.stored, kernels.dims, at_clock(machine, machine.clock))
    stretch = (1.0 / clock(kernels, machine, out) - 1.0) / (1.0 / machine.clock - 1.0)
    return _at_site(kernels, machine, out + np.maximum(slow - out, 0.0) * stretch)


def _at_site(kernels: Kernels, machine: Machine, times: FloatArray) -> FloatArray:
    """Times of each row as the user's site was found to take them."""
    if machine.site == (1.0, 1.0):
        return times
    return times * np.where(kernels.kind >= ALL_REDUCE, machine.site[1], machine.site[0])


def _full_clock_s(kernels: Kernels, machine: Machine) -> FloatArray:
    out: FloatArray = seconds_of_rows(kernels.kind, kernels.dtype, kernels.stored, kernels.dims, machine)
    if out.size and not math.isfinite(float(out.sum())):
        _raise_unknown(kernels, out)
    return out


def clock(kernels: Kernels, machine: Machine, full_s: FloatArray | None = None) -> FloatArray:
    """Clock at which each kernel stays within the power limit, over the full clock, float64[n]. full_s: its seconds at full
    clock, if they are at hand."""
    if machine.clock == 1.0:
        return np.ones(len(kernels))
    full_s = _full_clock_s(kernels, machine) if full_s is None else full_s
    return clock_share(_draw_w(kernels, machine, full_s), machine.chip_values)


def _raise_unknown(kernels: Kernels, out: FloatArray) -> None:
    row = int(np.flatnonzero(~np.isfinite(out))[0])
    kind = KINDS[kernels.kind[row]]
    if kind.name == "optimizer":
        raise UnknownFigure("chip.host.bandwidth_bytes_per_s")
    if kind.dtyped:
        raise UnknownFigure(f"chip.matrix.{DTYPE_NAMES[kernels.dtype[row]]}_flops_per_s")
    raise ValueError(f"row {row} of kind {kind.name} with dims {kernels.dims[row]} has no finite time")


def seconds_of(kind: str, *dims: float, machine: Machine, dtype: str = "bf16", stored: str | None = None) -> float:
    """Time of one kernel [s] by names and dims, for tests and explanations."""
    row = np.zeros((1, 8))
    row[0, : len(dims)] = dims
    ids = [np.array([value], np.int16) for value in (KIND_IDS[kind], DTYPE_IDS[dtype], DTYPE_IDS[stored or dtype], 0)]
    place = np.zeros(1, np.int32)
    one = Kernels(ids[0], ids[1], ids[2], row, np.ones(1), ids[3], ids[3], place, place, ids[3])
    return float(seconds(one, machine)[0])


def joules(kernels: Kernels, machine: Machine, times: FloatArray | None = None) -> FloatArray:
    """Energy of each kernel on one rank [J], float64[n]; NaN if the chip's power limit is unknown. times: its seconds, if
    they are at hand. The limit holds for sums over milliseconds: `held_j`. Source: docs/cost.md, power."""
    if times is None:
        times = seconds(kernels, machine)
    full_s = times if machine.clock == 1.0 else _full_clock_s(kernels, machine)
    drawn, idle = _draw_w(kernels, machine, full_s), machine.chip_values[IDLE_W]
    if machine.clock != 1.0:
        drawn = idle + (drawn - idle) * clock_share(drawn, machine.chip_values) ** 2
    return times * drawn


def _draw_w(kernels: Kernels, machine: Machine, full_s: FloatArray) -> FloatArray:
    sent = np.where(kernels.kind >= ALL_REDUCE, kernels.dims[:, 0], 0.0)
    work = np.stack((kernels.flops(), kernels.bytes(), sent), axis=1)
    vector = ~np.array([kind.dtyped for kind in KINDS])[kernels.kind]
    work[vector, 0] = 0.0  # vector operations are no work of the matrix units
    out: FloatArray = draw_of_rows(full_s, work, kernels.dtype, machine)
    return out
