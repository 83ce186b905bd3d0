"""Why a figure of a training answer is what it is: its terms down to the catalogue's values, each with key and source."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import cost
from ..catalog.recorded import Recorded
from ..catalog.scenarios import Scenario
from ..economics import JOULES_PER_KWH, Usage, device_hour, host_share_w
from ..errors import InputError, did_you_mean
from ..lowering import PARTS, STEP, Kernels, model_flops, units
from ..lowering.kernels import DTYPE_NAMES
from ..lowering.kinds import KINDS, PHASES
from ..lowering.sharding import Columns
from ..lowering.sharding import Step as Pass
from ..training.memory import memory_parts
from ..training.pricing import Priced, price, straggling
from ..training.stages import DIRECTIONS
from ..training.times import CLASSES, executed, factors_of, times_of
from .priced import Question, question, settled_all
from .provenance import resolved_plan
from .terms import Term, candidates, constant, given, product, quotient, scaled, total, value_of

FloatArray = NDArray[np.float64]
STEP_UP = 1.01  # by which a leaf is moved to see whether a kernel's time depends on it
MOVES = 1e-9  # elasticity below which it does not
FIGURES = (
    *("step_time", "tokens_per_s", "tokens_per_s_per_device", "mfu", "steps", "days", "device_hours"),
    *("usd_per_device_hour", "cost", "power", "energy", "carbon", "memory_per_device"),
)
_CLASS_NAMES = tuple(CLASSES.values())


class _Rows(NamedTuple):
    """Kernels of the plan that differ, added up. each_s: of one run; runs: on the mean stage in a step; elasticity[keys, rows]."""

    table: Kernels
    direction: NDArray[np.int64]
    of: NDArray[np.int64]
    each_s: FloatArray
    runs: FloatArray
    keys: tuple[str, ...]
    elasticity: FloatArray


class _Asked(NamedTuple):
    """The question, its one plan as columns, and the plan's price."""

    q: Question
    scenario: Scenario
    plan: Any
    c: Columns
    priced: Priced


def explained(verb: str, scenario: Scenario, contents: dict[str, Any], figure: str) -> Term:
    """The tree of a figure. contents: the catalogue's entries as recorded. Raises InputError for a figure without one."""
    if verb != "train":
        raise InputError(f"explain: a result of {verb} is given; those of train and serve are taken apart. Give one.")
    if figure not in FIGURES:
        raise InputError(
            f"explain: {figure!r} is not taken apart. {did_you_mean(figure, FIGURES) or 'Use ' + ', '.join(FIGURES) + '.'}"
        )
    if scenario.campaign.faults and figure not in ("step_time", "mfu", "tokens_per_s", "memory_per_device"):
        raise InputError(
            "explain: a campaign with failures is drawn, not a formula. Ask for step_time, mfu or memory_per_device."
        )
    library = Recorded(contents)
    plan, devices = resolved_plan(library, scenario)
    group = scenario.groups[0].with_(devices=devices)
    priced_at = contents.get("price") if scenario.economy.usd_per_device_hour is None else None
    economy = scenario.economy if priced_at is None else scenario.economy.with_(usd_per_device_hour=priced_at)
    scenario = scenario.with_(groups=(group,), economy=economy)
    q = question(library, scenario)
    c = settled_all(q.model, [plan], q.target, q.demand.seq_len)
    asked = _Asked(q, scenario, plan, c, price(q.model, c, q.target, q.demand.seq_len))
    return _figure(asked, figure, contents.get("price_source", "") if priced_at is not None else None)


def _figure(a: _Asked, name: str, price: str | None) -> Term:
    if name == "memory_per_device":
        return _memory(a)
    if name == "usd_per_device_hour":
        return _rate(a, price)
    if name in ("cost", "device_hours", "energy", "carbon"):
        return _run(a, name, price)
    if name == "power":
        return _power(a)
    if name == "steps":
        return _steps(a)
    step = _step(a)
    if name == "step_time":
        return step
    if name == "days":
        return quotient(
            "days", "days", product("seconds", "s", step, _steps(a)), constant("seconds of a day", 86400.0, "s")
        )
    tokens = constant(
        "tokens of a step (global_batch * seq_len)", float(a.c.global_batch[0]) * a.q.demand.seq_len, "tokens"
    )
    if name == "tokens_per_s":
        return quotient(name, "tokens_per_s", tokens, step)
    devices = given("devices", a.q.devices, "chips")
    if name == "tokens_per_s_per_device":
        return quotient(name, "tokens_per_s", tokens, product("device seconds", "s", step, devices))
    flops = Term(
        "FLOPs of a token",
        model_flops(a.q.model, a.q.demand.seq_len),
        "FLOP",
        "function",
        (),
        "of the model: three forward passes",
    )
    dtype = DTYPE_NAMES[int(a.c.linear_in[0])]
    done = product("model FLOPs of a step", "FLOP", flops, tokens)
    return quotient("mfu", "fraction", done, product("FLOPs at the peak", "FLOP", step, devices, _peak(a, dtype)))


def _peak(a: _Asked, dtype: str) -> Term:
    value = a.q.target.chip.matmul_flops_per_s(dtype)
    return given(f"chip.matrix.{dtype}", value, "flops_per_s", a.q.target.chip.matrix.source)


def _steps(a: _Asked) -> Term:
    budget = a.q.demand
    if budget.tokens is None:
        raise InputError("explain: the result has no token budget. Give --tokens to train.")
    steps = math.ceil(budget.tokens / (float(a.c.global_batch[0]) * budget.seq_len))
    terms = (given("demand.tokens", budget.tokens, "tokens"), given("demand.seq_len", budget.seq_len, "tokens"))
    return Term("steps", steps, "steps", "function", terms, "tokens over tokens of a step, rounded up")


def _seconds(a: _Asked) -> Term:
    """Of the run; of one step without a budget."""
    step = _step(a)
    return step if a.q.demand.tokens is None else product("seconds of the run", "s", step, _steps(a))


def _run(a: _Asked, name: str, price: str | None) -> Term:
    seconds, hour = _seconds(a), constant("seconds of an hour", 3600.0, "s")
    hours = quotient("hours", "h", seconds, hour)
    if name == "device_hours":
        return product(name, "h", given("devices", a.q.devices, "chips"), hours)
    if name == "cost":
        paid = Term(
            "devices_paid",
            a.q.paid,
            "chips",
            "function",
            (given("devices", a.q.devices, "chips"),),
            "with the spares of every domain",
        )
        return product(name, "usd", _rate(a, price), paid, hours)
    energy = quotient(
        "energy", "kwh", product("joules", "j", _power(a), seconds), constant("joules of a kWh", JOULES_PER_KWH, "j")
    )
    if name == "energy":
        return energy
    if a.scenario.economy.grid is not None:
        raise InputError("explain: carbon by the hour is not taken apart. Give --kg-co2-per-kwh in place of --grid.")
    given_here = a.scenario.economy.kg_co2_per_kwh
    intensity = given_here if given_here is not None else a.q.target.cluster.grid_kg_per_kwh
    if intensity is None:
        raise InputError("explain: the site's kg_co2_per_kwh is unknown. Give --kg-co2-per-kwh.")
    key = "cluster.grid_kg_per_kwh" if given_here is None else "economy.kg_co2_per_kwh"
    return product("carbon", "kg", energy, given(key, intensity, "kg"))


def _rate(a: _Asked, price: str | None) -> Term:
    if a.q.economy.owned is not None and a.q.economy.term in (None, "owned"):
        raise InputError("explain: `gambrel own` takes apart what an hour costs. Give --usd-per-device-hour here.")
    usage = Usage(a.q.devices, a.q.paid, _seconds(a).value, 0.0, "extrapolated")
    found = device_hour(a.q.library, a.q.target, a.q.economy, usage)
    if found.value is None:
        raise InputError(f"explain: {found.note}")
    if price is not None:
        return given(f"price.{a.q.target.chip.id}", found.value, "usd_per_device_hour", f"devices/prices.csv: {price}")
    return given("economy.usd_per_device_hour", found.value, "usd_per_device_hour", "as given")


def _power(a: _Asked) -> Term:
    """Draw of the job at the meter: chips at work, spares, hosts; times the facility's overhead."""
    q = a.q
    chip, cluster = q.target.chip, q.target.cluster
    drawn_w = float(a.priced.joules[0]) / float(a.priced.step_s[0])
    if not math.isfinite(drawn_w):
        raise InputError(f"explain: chip.power.tdp_w of {chip.id} is unknown. Add it to the chip's file.")
    tdp = chip.power.tdp_w or drawn_w
    idle = chip.power.idle_w or q.target.family.idle_share * tdp
    leaves = [
        given("chip.power.tdp", tdp, "w", chip.power.source),
        given("chip.power.idle", idle, "w", chip.power.source),
    ]
    leaves += [_leaf(a, f"calibration.power.{name}") for name in q.target.calibration.parameters.get("power", {})]
    note = "joules of its kernels in a step over the step, and what it draws while it waits"
    terms = [
        product(
            "chips at work",
            "w",
            given("devices", q.devices, "chips"),
            Term("watts of a chip", drawn_w, "w", "function", tuple(leaves), note),
        )
    ]
    if q.paid > q.devices:
        terms.append(product("spares", "w", constant("spare chips", q.paid - q.devices, "chips"), leaves[1]))
    host = host_share_w(cluster, tdp)
    if host is not None:
        source = "; ".join(cluster.sources)
        of = Term(
            "host of a chip",
            host,
            "w",
            "function",
            (given("cluster.host.power", host * cluster.chips_per_node, "w", source),),
            "its share",
        )
        terms.append(product("hosts", "w", constant("chips paid for", q.paid, "chips"), of))
    pue = a.scenario.economy.pue
    overhead = given("cluster.pue", cluster.pue, "") if pue is None else given("economy.pue", pue, "")
    return product("power", "w", overhead, total("all draws", "w", terms))


def _memory(a: _Asked) -> Term:
    q, c = a.q, a.c
    recompute = {0: "none", 1: "selective", 2: "full", 3: "operators"}[int(c.recompute[0])]
    offload = "activations" if bool(c.offload_inputs[0]) else a.plan.offload
    plan = a.plan.with_(recompute=recompute, recompute_layers=float(c.recompute_share[0]), offload=offload)
    parts = memory_parts(q.model, plan, q.target, q.demand.seq_len)
    degrees = tuple(given(f"plan.{name}", getattr(plan, name) or 1, "") for name in ("tp", "pp", "dp", "micro_batch"))
    terms = [
        Term(name, size, "bytes", "function", degrees, "closed form of the model and plan")
        for name, size in parts.items()
    ]
    return total("memory_per_device", "bytes", terms)


def _step(a: _Asked) -> Term:
    """Parts of a step by direction; what no kernel explains is the pipeline's bubble."""
    rows = _rows(a)
    parts: FloatArray = a.priced.parts[0]
    terms = []
    for p, part in enumerate(PARTS):
        for d, direction in enumerate(DIRECTIONS):
            if parts[p, d] > 0.0 and part not in ("bubble", "host"):
                terms.append(_part(a, rows, (p, d), f"{part.replace('_', ' ')}, {direction}"))
    host = float(parts[PARTS.index("host")].sum())
    if host > 0.0:
        leaves = tuple(_leaf(a, f"stack.{name}") for name in ("host_launch_s", "kernels_per_layer"))
        terms.append(Term("host", host, "s", "function", leaves, "launches that the device waits for"))
    terms += _waiting(a)
    left = float(a.priced.step_s[0]) - math.fsum(term.value for term in terms)
    plan = tuple(
        given(f"plan.{name}", getattr(a.plan, name), "")
        for name in ("pp", "virtual_stages", "micro_batch", "global_batch")
    )
    note = f"stages that wait under {a.plan.schedule} with {a.c.micro_batches[0]:g} micro-batches"
    terms.append(Term("bubble", left, "s", "function", plan, note))
    return total("step_time", "s", terms)


def _waiting(a: _Asked) -> list[Term]:
    """What a step takes beside its pipeline: the host once, and waiting for the slowest domain."""
    step = float(a.priced.step_s[0])
    longer = float(straggling(a.c, a.q.target)[0])
    out = [Term("host, once a step", a.q.target.stack.step_host_s, "s", "sum", (_leaf(a, "stack.step_host_s"),))]
    if longer > 1.0:
        leaves = (_leaf(a, "stack.factors.straggle"), given("devices", a.q.devices, "chips"))
        note = f"all domains wait for the slowest, {longer - 1.0:.1%} longer"
        out.append(Term("stragglers", step - step / longer, "s", "function", leaves, note))
    return out


def _leaf(a: _Asked, key: str, note: str = "") -> Term:
    value, source = value_of(a.q.target, key)
    return given(key, value, "", source, note)


def _part(a: _Asked, rows: _Rows, at: tuple[int, int], name: str) -> Term:
    """Kernels of one part and direction, times the share of them that nothing hides."""
    chosen = np.flatnonzero((rows.table.part == at[0]) & (rows.direction == at[1]))
    kernels = [_kernel(a, rows, int(i)) for i in chosen]
    work = total(name, "s", sorted(kernels, key=lambda term: -term.value))
    shown = float(a.priced.parts[0, at[0], at[1]])
    if not work.value:
        return Term(name, shown, "s", "function", (), "beside other work")
    if abs(shown / work.value - 1.0) < 1e-9:
        return Term(name, work.value, "s", "sum", work.terms)
    exposed = ("dp_exposed", "fsdp_exposed")
    leaves = tuple(_leaf(a, f"stack.factors.{key}") for key in exposed if key in a.q.target.stack.factors)
    hidden = Term(
        "share that nothing hides",
        shown / work.value,
        "fraction",
        "function",
        leaves,
        "what compute beside it is too short for",
    )
    return product(name, "s", hidden, Term("kernels", work.value, "s", "sum", work.terms))


def _kernel(a: _Asked, rows: _Rows, i: int) -> Term:
    """runs x factor of the stack x seconds of one run; that is ideal time over efficiency."""
    table = rows.table
    kind, phase = KINDS[table.kind[i]], PHASES[table.phase[i]]
    dims = " ".join(f"{name}={table.dims[i, d]:g}" for d, name in enumerate(kind.dims) if table.dims[i, d])
    leaves = _sensitive(a, rows, i)
    terms = [constant("runs in a step, mean stage", float(rows.runs[i])), _once(a, rows, i, leaves)]
    factor, default = _CLASS_NAMES[rows.of[i]]
    if factor and factor in a.q.target.stack.factors:
        terms.append(_leaf(a, f"stack.factors.{factor}"))
    elif factor and default != 1.0:
        terms.append(constant(factor, default))
    name = f"{kind.name} {DTYPE_NAMES[table.dtype[i]] if kind.dtyped else ''} {phase} {dims}".replace("  ", " ")
    return product(name, "s", *terms)


def _sensitive(a: _Asked, rows: _Rows, i: int) -> list[Term]:
    """Leaves that move a kernel's time, the strongest first; note: percent of it for each percent of the leaf."""
    order = np.argsort(-np.abs(rows.elasticity[:, i]))
    chosen = [k for k in order if abs(rows.elasticity[k, i]) > MOVES]
    return [_leaf(a, rows.keys[k], f"elasticity {rows.elasticity[k, i]:+.2f}") for k in chosen]


def _binding(leaves: list[Term]) -> str:
    """The hardware value that moves a kernel's time most; its launch where none does."""
    hardware = (leaf.key for leaf in leaves if not leaf.key.startswith("calibration."))
    return next((key for key in hardware if not key.endswith("oversubscription")), "the launch")


def _once(a: _Asked, rows: _Rows, i: int, leaves: list[Term]) -> Term:
    """Seconds of one run."""
    table, each = rows.table, float(rows.each_s[i])
    one = table.take(np.array([i]))
    bound = f"{_binding(leaves)} binds"
    flops, moved = float(one.flops()[0]), float(one.bytes()[0])
    kind = KINDS[table.kind[i]]
    if kind.collective or not (flops or moved):
        return Term(
            "seconds of one run", each, "s", "function", tuple(leaves), f"by {kind.name} over the network; {bound}"
        )
    dtype, ranks = DTYPE_NAMES[table.dtype[i]], a.q.target.chip.ranks
    memory = a.q.target.chip.memory
    ways = [
        (moved, "bytes", given("chip.memory.bandwidth", memory.bandwidth_bytes_per_s, "bytes_per_s", memory.source))
    ]
    if kind.dtyped and flops:
        ways.append((flops, "FLOP", _peak(a, dtype.partition("_")[0])))
    amount, unit, rate = max(ways, key=lambda way: way[0] / way[2].value)
    of_rank = rate if ranks == 1 else quotient("rate of a rank", rate.unit, rate, constant("ranks of a chip", ranks))
    ideal = quotient("at the full rate", "s", constant(f"{unit} of one run", amount, unit), of_rank)
    reached = Term("efficiency", ideal.value / each, "fraction", "function", tuple(leaves), bound)
    return quotient("seconds of one run", "s", ideal, reached)


def _rows(a: _Asked) -> _Rows:
    """Kernels of a step with what they depend on, like ones added up."""
    q, c = a.q, a.c
    seq_len = float(q.demand.seq_len)
    table = executed(units(q.model, c, Pass("train", 1.0, seq_len, seq_len)), q.target)
    machine = cost.machine(q.target.chip, q.target.family, q.target.calibration, q.target.cluster)
    each = cost.seconds(table, machine)
    blocks = len(q.model.blocks)
    times = times_of(table, c, each, blocks)
    layers = np.array([*(float(block.layers) for block in q.model.blocks), 1.0, 1.0, 0.0, 0.0])
    once = times.site == blocks - 1 - STEP
    runs = table.count * np.where(once, 1.0, layers[times.site] * float(c.micro_batches[0] / c.pp[0]))
    direction = np.where(once, 1, times.direction)
    counted = np.flatnonzero((runs > 0.0) & (factors_of(q.target)[times.of] > 0.0))
    table, each, runs, direction, of = (
        table.take(counted),
        each[counted],
        runs[counted],
        direction[counted],
        times.of[counted],
    )
    ids = np.stack([table.kind, table.dtype, table.stored, table.part, table.phase, direction, of], axis=1).astype(
        np.float64
    )
    _, first, which = np.unique(np.hstack([ids, table.dims]), axis=0, return_index=True, return_inverse=True)
    summed = np.bincount(which.reshape(-1), weights=runs).astype(np.float64)
    table, each = table.take(first), each[first]
    keys = candidates(q.target, {KINDS[k].name for k in table.kind.tolist()})
    found = np.stack([_elasticity(q, key, table, each) for key in keys])
    return _Rows(table, direction[first], of[first], each, summed, keys, found)


def _elasticity(q: Question, key: str, table: Kernels, each_s: FloatArray) -> FloatArray:
    """Percent of each row's time for a percent of a leaf; 0 for a value that cannot be moved alone."""
    try:
        target = scaled(q.target, key, STEP_UP)
    except InputError:
        return np.zeros(len(table))
    machine = cost.machine(target.chip, target.family, target.calibration, target.cluster)
    return np.asarray(np.log(cost.seconds(table, machine) / each_s) / math.log(STEP_UP))
