"""A chip, its calibration and its network as a few packed arrays. Everything is what ONE RANK has: chip / chip.ranks."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..catalog.calibrations import Calibration
from ..catalog.chips import DTYPES, Chip, Family
from ..catalog.clusters import Cluster, Tier
from ..errors import InputError, UnknownFigure, did_you_mean
from ..lowering.kernels import DTYPE_IDS, DTYPE_NAMES
from ..lowering.kinds import KIND_IDS, KINDS
from .parameters import CHIP, COLUMNS, POWER, TABLES, Parameter

FloatArray = NDArray[np.float64]
MECHANISMS = ("tiles", "systolic", "pe_grid")
BASES = ("measured", "calibrated", "extrapolated", "datasheet-only")
WORK = 8  # row of Machine.ranges after those of dims: FLOPs, of collectives bytes
SIZES = ("launch", "between", "large")  # of a kernel by its time over that of its launch: intervals.size_classes
NETWORKS = ("switch", "mesh", "torus", "ring", "host")

# columns of Machine.chip_values
UNITS, ARRAY, CLOCK_HZ, SRAM_BYTES, SRAM_RATE, MEMORY_BYTES, MEMORY_RATE, VECTOR_RATE, EXP_RATE = range(9)
HOST_RATE, HOST_LATENCY, IDLE_W, WAIT_W, LIMIT_W, TDP_W, PEAK_RATE, HELD = range(9, 17)
CHIP_COLUMNS = 17
# columns of Machine.levels; a torus is one level for each axis, levels of one tier have the same TIER
RANKS, BYTES_PER_S, LATENCY_S, NETWORK, REDUCES, OVERSUBSCRIPTION, WRAP, TIER, DOMAIN, UPLINKS, RAILS = range(11)
LEVEL_COLUMNS = 11
SWITCH, MESH, TORUS, RING, HOST = range(5)

_NETWORK_IDS = {name: index for index, name in enumerate(NETWORKS)}
_DEFAULT_QUANTILES = (-0.7, 0.7)  # no residual is known: within a factor of two


class Row(Protocol):
    """One row of an array, as compiled code indexes it."""

    def __getitem__(self, column: int, /) -> float: ...


class Machine(NamedTuple):
    """What `cost` needs to know of hardware and software. F formats, K kinds.

    mechanism: index of MECHANISMS. rates[F]: FLOP/s of a rank by dtype, NaN = unknown. chip_values: see the columns above.
    parameters[K, F, F, COLUMNS]: by kind, dtype multiplied in, stored format. levels[L, 11]: network, inner to outer, in ranks.
    power[5]: parameters of the draw. clock: what a power cap leaves of the clock to a kernel that draws the most; rates and
    chip_values hold at 1 (section 7). residuals[K, F, F, 3, 2]: p10 and p90 of log(measured / predicted), by size
    (SIZES). ranges[K, F, F, 9, 2]: smallest and largest fitted dims, and WORK. basis[K, F, F]: index of BASES inside the ranges.
    site[2]: what kernels and what collectives take at the user's site over what the rest says.
    """

    mechanism: int
    rates: FloatArray
    chip_values: FloatArray
    parameters: FloatArray
    levels: FloatArray
    power: FloatArray
    clock: float
    residuals: FloatArray
    ranges: FloatArray
    basis: NDArray[np.int8]
    site: tuple[float, float] = (1.0, 1.0)


def machine(chip: Chip, family: Family, calibration: Calibration, cluster: Cluster) -> Machine:
    """Pack one chip as calibrated, standing in a cluster. Raises InputError for an unknown kind or parameter name."""
    parameters = _parameters(calibration)
    given = _group(calibration, "chip", CHIP)
    power = _group(calibration, "power", POWER)
    values = _chip_values(chip, family, given, power)
    held, site = _held_clock(values, power), calibration.site
    values[CLOCK_HZ] *= held
    values[HELD] = held
    return Machine(
        mechanism=MECHANISMS.index(family.mechanism),
        rates=_rates(chip) * held,
        chip_values=values,
        parameters=parameters,
        levels=_levels(chip, family, cluster, values[MEMORY_RATE]),
        power=power,
        clock=_clock_share(values[LIMIT_W], values[TDP_W], values[IDLE_W]),
        residuals=_residuals(calibration),
        ranges=_ranges(calibration),
        basis=_bases(calibration),
        site=(site.device, site.collectives) if site else (1.0, 1.0),
    )


def _rates(chip: Chip) -> FloatArray:
    rates = np.full(len(DTYPE_NAMES), math.nan)
    for index, name in enumerate(DTYPE_NAMES):
        dtype = name if name in DTYPES else name.partition("_")[0]  # fp8_block multiplies in fp8
        try:
            rates[index] = chip.matmul_flops_per_s(dtype) / chip.ranks
        except UnknownFigure:
            continue  # stays NaN: `seconds` names the key when a kernel needs it
    return rates


def _clock_hz(chip: Chip, given: FloatArray, units: float, peak: float) -> float:
    """The printed clock, the calibration's, or the one between 1.1 and 2.2 GHz at which a power of two of FLOP per unit
    and clock gives the peak (units of every family do a power of two)."""
    if chip.matrix.clock_hz is not None:
        return chip.matrix.clock_hz
    if given[2] > 0.0:
        return float(given[2])
    per_unit = peak / max(units, 1.0)
    return float(per_unit / 2.0 ** math.floor(math.log2(per_unit / 1.1e9)))


def _chip_values(chip: Chip, family: Family, given: FloatArray, power: FloatArray) -> FloatArray:
    values = np.zeros(CHIP_COLUMNS)
    ranks = float(chip.ranks)
    peak = chip.matmul_flops_per_s("bf16")
    units = float(chip.matrix.units or given[0])
    if units <= 0.0:
        raise UnknownFigure(f"chip.matrix.units ({chip.id})")
    clock = _clock_hz(chip, given, units, peak)
    memory = chip.memory.bandwidth_bytes_per_s * (1.0 - given[4])
    sram, vector = chip.sram, chip.vector
    values[UNITS] = max(units / ranks, 1.0)
    values[ARRAY] = float(chip.matrix.array or given[1])
    values[CLOCK_HZ] = clock
    values[SRAM_BYTES] = ((sram.capacity_bytes if sram else None) or given[3]) / ranks
    values[SRAM_RATE] = ((sram.bandwidth_bytes_per_s if sram else None) or family.sram_speedup * memory) / ranks
    values[MEMORY_BYTES] = chip.memory.capacity_bytes / ranks
    values[MEMORY_RATE] = memory / ranks
    values[VECTOR_RATE] = ((vector.fp32_flops_per_s if vector else None) or family.vector_share * peak) / ranks
    values[EXP_RATE] = ((vector.exp_exp_per_s if vector else None) or 0.0) / ranks
    host = chip.host
    values[HOST_RATE] = ((host.bandwidth_bytes_per_s if host else None) or math.nan) / ranks
    values[HOST_LATENCY] = (host.latency_s if host else None) or family.scale_up_latency_s
    values[PEAK_RATE] = peak / ranks
    values[IDLE_W : TDP_W + 1] = np.array(_watts(chip, family, power)) / ranks
    return values


def _watts(chip: Chip, family: Family, power: FloatArray) -> tuple[float, float, float, float]:
    """Idle, waiting within a job, the limit, and the limit without a cap [W]; NaN where the datasheet gives no limit.

    Raises InputError for a cap that leaves nothing to compute with or is none.
    """
    tdp, cap = chip.power.tdp_w, chip.power.cap_w
    if tdp is None:
        if cap is not None:
            raise InputError(f"power cap = {cap:g} W: chip.power.tdp_w of {chip.id} is unknown. Leave the cap out.")
        return chip.power.idle_w or math.nan, math.nan, math.nan, math.nan
    idle = chip.power.idle_w or family.idle_share * tdp
    if cap is not None and not idle < cap <= tdp:
        raise InputError(
            f"power cap = {cap:g} W: {chip.id} draws {idle:g} W idle and at most {tdp:g} W. Use a cap between them."
        )
    limit = tdp if cap is None else cap
    return idle, min(max(idle, power[0] * tdp), limit), limit, tdp


def _clock_share(limit_w: float, drawn_w: float, idle_w: float) -> float:
    """Clock at which a kernel that would draw so much keeps the limit: what is drawn above idle goes with its square."""
    if not limit_w < drawn_w:  # also when either is unknown
        return 1.0
    return float(math.sqrt((limit_w - idle_w) / (drawn_w - idle_w)))


def _held_clock(values: FloatArray, power: FloatArray) -> float:
    """Clock that long products hold under the chip's own limit, over the printed one."""
    idle = values[IDLE_W]
    return _clock_share(values[TDP_W], idle + power[4] * 1e-12 * values[PEAK_RATE], idle)


def _group(calibration: Calibration, key: str, table: tuple[Parameter, ...]) -> FloatArray:
    values = np.array([parameter.default for parameter in table])
    _fill(values, calibration, key, table)
    return values


def _fill(out: FloatArray, calibration: Calibration, key: str, table: tuple[Parameter, ...]) -> None:
    names = [parameter.name for parameter in table]
    for name, value in calibration.parameters.get(key, {}).items():
        if name not in names:
            raise InputError(
                f"devices/calibrations/{calibration.id}.yaml: unknown parameter parameters.{key}.{name}. "
                f"{did_you_mean(name, names)}".rstrip()
            )
        out[..., names.index(name)] = value


def _split(calibration: Calibration, key: str) -> tuple[str, list[slice]]:
    """`gemm.bf16.int4` -> kind and the formats that it covers: dtype, stored."""
    kind, *formats = key.split(".")
    known = TABLES if kind not in TABLES else DTYPE_IDS
    for part in (kind,) if kind not in TABLES else formats[:2]:
        if part not in known:
            raise InputError(
                f"devices/calibrations/{calibration.id}.yaml: {key!r} names no kernel kind and dtype ({part!r}). "
                f"{did_you_mean(part, known)}".rstrip()
            )
    cover = [slice(None), slice(None)]
    for axis, name in enumerate(formats[:2]):
        cover[axis] = slice(DTYPE_IDS[name], DTYPE_IDS[name] + 1)
    return kind, cover


def _parameters(calibration: Calibration) -> FloatArray:
    formats = len(DTYPE_NAMES)
    out = np.zeros((len(KINDS), formats, formats, COLUMNS))
    for name, index in KIND_IDS.items():
        defaults = [parameter.default for parameter in TABLES[name]]
        out[index, :, :, : len(defaults)] = defaults
    for key in sorted(calibration.parameters, key=lambda key: key.count(".")):  # the narrower overrides the wider
        kind, (dtype, stored) = _split(calibration, key)
        if kind in KIND_IDS:
            _fill(out[KIND_IDS[kind], dtype, stored], calibration, key, TABLES[kind])
    return out


def _residuals(calibration: Calibration) -> FloatArray:
    formats = len(DTYPE_NAMES)
    out = np.empty((len(KINDS), formats, formats, len(SIZES), 2))
    out[...] = _DEFAULT_QUANTILES
    for key in sorted(calibration.residuals, key=lambda key: key.count(".")):
        kind, (dtype, stored) = _split(calibration, key)
        if kind not in KIND_IDS:
            continue
        given = calibration.residuals[key]
        for end, name in enumerate(("p10", "p90")):
            every = given.get(name, _DEFAULT_QUANTILES[end])
            for index, size in enumerate(SIZES):
                out[KIND_IDS[kind], dtype, stored, index, end] = given.get(f"{size}_{name}", every)
    return out


def _bases(calibration: Calibration) -> NDArray[np.int8]:
    """Index of BASES by kind, dtype and stored format: a chip's own fit holds for what it names, not for other kinds."""
    formats = len(DTYPE_NAMES)
    out = np.full((len(KINDS), formats, formats), BASES.index(calibration.basis), dtype=np.int8)
    for key in sorted(calibration.bases, key=lambda key: key.count(".")):
        kind, (dtype, stored) = _split(calibration, key)
        if kind in KIND_IDS:
            out[KIND_IDS[kind], dtype, stored] = BASES.index(calibration.bases[key])
    return out


def _ranges(calibration: Calibration) -> FloatArray:
    formats = len(DTYPE_NAMES)
    out = np.empty((len(KINDS), formats, formats, WORK + 1, 2))
    out[..., 0], out[..., 1] = -math.inf, math.inf
    for key in sorted(calibration.ranges, key=lambda key: key.count(".")):
        name, (dtype, stored) = _split(calibration, key)
        dims = KINDS[KIND_IDS[name]].dims if name in KIND_IDS else ()
        for dim, limits in calibration.ranges[key].items():
            if dim == "work" and dims:
                out[KIND_IDS[name], dtype, stored, WORK] = limits
                continue
            if dim not in dims:
                raise InputError(
                    f"devices/calibrations/{calibration.id}.yaml: ranges.{key}.{dim} is no dim. {did_you_mean(dim, dims)}"
                )
            out[KIND_IDS[name], dtype, stored, dims.index(dim)] = limits
    return out


def _levels(chip: Chip, family: Family, cluster: Cluster, rank_memory_rate: float) -> FloatArray:
    """Network levels from inner to outer, in ranks; ranks of one chip meet in its memory (a copy reads and writes)."""
    ranks = float(chip.ranks)
    rows: list[list[float]] = []
    if chip.ranks > 1:
        rows.append([ranks, rank_memory_rate / 2.0, 0.0, SWITCH, 0.0, 1.0, 1.0, -1.0, ranks, 0.0, 0.0])
    for index, tier in enumerate(cluster.tiers):
        latency = tier.latency_s
        if latency is None:
            inner = index == 0 or tier.kind in ("torus", "mesh", "ring")
            latency = family.scale_up_latency_s if inner else family.scale_out_latency_s
        inner_reach = rows[-1][RANKS] if rows else 1.0
        rows += _tier_rows(tier, float(index), ranks, (latency, inner_reach))
    return np.array(rows)


def _tier_rows(tier: Tier, index: float, ranks: float, inner: tuple[float, float]) -> list[list[float]]:
    """The levels of a tier. Its dims are counted from single chips where they make up `size`, else from the tier inside. Links of
    a dim of 1 are idle."""
    latency_s, inner_reach = inner
    size = math.inf if tier.size is None else float(tier.size)
    rate = tier.bandwidth_bytes_per_s / ranks
    common = [latency_s, float(_NETWORK_IDS[tier.kind]), float(tier.reduces), tier.oversubscription]
    axes = [dim for dim in tier.dims if dim.size > 1]
    if tier.kind not in ("torus", "ring") or not axes:
        rails = inner_reach if tier.rails else 0.0
        return [[size * ranks, rate, *common, 1.0, index, size, float(tier.uplinks or 0), rails]]
    rows: list[list[float]] = []
    reach = ranks if tier.size is not None else max(inner_reach, ranks)
    for axis in axes:
        reach *= axis.size
        wraps = float(axis.wrap_multiple or axis.size) if axis.wrap else 0.0
        rows.append([reach, rate / len(tier.dims), *common, wraps, index, float(axis.size), 0.0, 0.0])
    return rows
