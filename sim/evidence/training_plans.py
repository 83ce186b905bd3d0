"""Row of a training table -> Plan and Cluster. What a row leaves blank gets what its kind of software does by default."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ..catalog.chips import Chip
from ..catalog.clusters import Cluster, Tier
from ..catalog.imported import with_rest
from ..catalog.library import cluster_of
from ..catalog.models import Model
from ..catalog.plans import Dtypes, Plan
from .tables import Row, Skip
from .training_sources import UNKNOWN, Source

UNFUSED_UNTIL = 2022  # sources up to this year that do not name their attention kernel ran it unfused
PASS_TOKENS = 8192  # tokens of a pass where a source states no micro-batch and has no pipeline
LORA_RANK = 16
GBIT = 1e9 / 8.0


class Layout(NamedTuple):
    """A plan, and the row's global batch over the plan's (1 unless the printed one is no multiple of micro_batch * dp)."""

    plan: Plan
    scale: float


def layout_of(
    row: Row, model: Model, chip: Chip, year: int, unstated: tuple[int, int] = (1, 1), source: Source = UNKNOWN
) -> Layout:
    """The plan of a row published in `year`; degrees count what software addresses. Raises Skip if they cannot be."""
    tp, pp, cp = row.count("TP") or unstated[0], row.count("PP") or unstated[1], row.count("CP") or 1
    ranks, seq_len = row.need("num_devices") * chip.ranks, row.need("seq_len")
    batch = row.count("global_batch")
    dp, spare = divmod(ranks, tp * pp * cp)
    if spare or not dp:
        raise Skip(f"TP * PP * CP = {tp * pp * cp} does not divide {ranks} ranks")
    if batch is not None and dp > batch and row.count("DP") is None and dp % batch == 0:
        dp, cp = batch, cp * (dp // batch)  # fewer sequences than ranks: the others share the context
    micro = row.count("micro_batch") or _micro_batch((tp, pp, cp), max(1, (batch or 0) // dp), seq_len, chip, source)
    schedule, virtual = schedule_of(row), _chunks(row, pp, model)
    passes = micro * dp * (pp if virtual > 1 else 1)
    # without a stated batch, a pipeline that is filled
    planned = micro * dp * pp if batch is None else max(1, round(batch / passes)) * passes
    lora = "lora" in (row.text("model") + row.text("id")).lower()
    plan = Plan(
        tp=tp,
        pp=pp,
        dp=dp,
        cp=cp,
        ep=row.count("EP") or 1,
        virtual_stages=virtual,
        schedule=schedule,
        micro_batch=micro,
        global_batch=planned,
        sharding=sharding_of(row, chip),
        shard_degree=_shard_degree(row, dp * cp),
        recompute=_recompute(row, source),
        sequence_parallel=_sequence_parallel(row, chip, year),
        flash_attention=_flash(row, year),
        trainable="lora" if lora else "all",
        lora_rank=LORA_RANK if lora else 0,
        dtypes=dtypes_of(row, source.gradients, source.format),
    )
    rest = row.text("plan_rest")
    return Layout(with_rest(plan, rest, row.place) if rest else plan, 1.0 if batch is None else batch / planned)


_SCHEDULES = (
    ("zero-bubble", "zb-h1"),
    ("zbv", "zb-v"),
    ("zb-v", "zb-v"),
    ("v-half", "v-half"),
    ("v-min", "v-min"),
    ("gpipe", "gpipe"),
    ("dualpipe", "dualpipe"),
)


def schedule_of(row: Row) -> str:
    """The pipeline schedule that the notes name (`schedule zbv`, `DualPipe`), else 1f1b."""
    notes = row.text("notes").lower()
    return next((name for said, name in _SCHEDULES if re.search(rf"\b{said}\b", notes)), "1f1b")


def _chunks(row: Row, pp: int, model: Model) -> int:
    """Stated chunks of a stage, two where notes say that it interleaves and not how, where the pipeline has layers for them;
    schedules that fold it bring their own."""
    virtual = row.count("VPP") or (2 if "interleaved 1f1b" in row.text("notes").lower() else 1)
    return virtual if schedule_of(row) == "1f1b" and pp > 1 and pp * virtual <= model.layers else 1


def interleaved(plan: Plan, model: Model, chunk_layers: int) -> Plan:
    """The plan with chunks of so many layers, where its pipeline and its micro-batches allow it."""
    passes = (plan.global_batch or 1) // (plan.micro_batch * (plan.dp or 1))
    if plan.pp == 1 or passes % plan.pp:
        return plan
    return plan.with_(virtual_stages=max(1, model.layers // plan.pp // chunk_layers))


def unstated_degrees(row: Row, chip: Chip) -> list[tuple[int, int]]:
    """(tp, pp) that a row without any layout may have used, least first: tensor parallel within a node, then pipelines of
    such nodes; degrees that divide the ranks, and stages of equally many layers. TPUs: one program, sharded."""
    if chip.family == "tpu" or any(row.count(name) for name in ("TP", "PP", "DP")):
        return [(1, 1)]
    devices = row.need("num_devices")
    within = min(devices, row.count("devices_per_node") or 1) * chip.ranks
    tensor = [2**e for e in range(within.bit_length())]
    layers, most = row.count("layers") or 0, devices * chip.ranks // tensor[-1]
    stages = [pp for pp in range(2, most + 1) if layers % pp == 0]
    degrees = [*((tp, 1) for tp in tensor), *((tensor[-1], pp) for pp in stages)]
    ways = devices * chip.ranks // (row.count("CP") or 1)
    return [(tp, pp) for tp, pp in degrees if ways % (tp * pp) == 0]


def _micro_batch(degrees: tuple[int, int, int], per_rank: int, seq_len: int, chip: Chip, source: Source) -> int:
    """Sequences of a pass where none are stated: all of a rank's on TPUs (one program, one pass), in a pipeline one or what its
    software splits a batch into, else as many as divide the rank's batch and stay within PASS_TOKENS."""
    tp, pp, cp = degrees
    if chip.family == "tpu":
        return per_rank
    if pp > 1:
        return max(1, per_rank // pp) if source.passes == "stages" and per_rank % pp == 0 else 1
    most = PASS_TOKENS * cp * (2 if tp > 1 else 1)  # ranks that share a sequence hold less of it each
    fitting = [n for n in range(1, per_rank + 1) if per_rank % n == 0 and n * seq_len <= most]
    return max(fitting, default=1)


def sharding_of(row: Row, chip: Chip) -> str:
    """Sharding of the data-parallel ranks; unstated: FSDP on TPUs, a distributed optimizer elsewhere."""
    text = row.text("sharding").lower()
    if "grads sharded" in text or "zero2" in text:
        return "zero2"
    if "fsdp" in text or "zero3" in text or "fully sharded" in text:
        return "zero3"
    if text.startswith("zero0") or text == "none":
        return "none"
    return "zero1" if text.startswith("zero1") or chip.family != "tpu" else "zero3"


def _shard_degree(row: Row, ranks: int) -> int | None:
    """Ranks over which is sharded where the source names fewer than all: `ici 256`, `fsdp 8 in node`, `256-way fully`."""
    match = re.search(r"ici (\d+)|fsdp (\d+) in node|(\d+)-way fully", row.text("sharding"))
    if match is None:
        return None
    degree = int(next(group for group in match.groups() if group))
    return degree if degree < ranks and ranks % degree == 0 else None


def _sequence_parallel(row: Row, chip: Chip, year: int) -> bool:
    """Unstated: since 2023; TPU programs shard residuals over all axes since GSPMD (Xu et al. 2021, section 5.2)."""
    text = row.text("sequence_parallel").lower()
    if text in ("yes", "true"):
        return True
    return text == "" and (year > UNFUSED_UNTIL or chip.family == "tpu")


def _flash(row: Row, year: int) -> bool:
    text = row.text("attention").lower()
    if text:
        return not text.startswith("unfused")
    return year > UNFUSED_UNTIL


def _recompute(row: Row, source: Source) -> str:
    """Stated recomputation; `selective` means what the source's software means by it ("": Megatron's); `minimal` keeps all
    products, offloading one tensor recomputes the rest; unstated: what the source is known to run, else as memory asks."""
    text = row.text("recompute").lower()
    if text == "selective":
        return source.selective or text
    if text in ("none", "full", "operators"):
        return text
    if text == "minimal":
        return "selective"
    return "full" if text.startswith("offload") else source.unstated or "auto"


def dtypes_of(row: Row, gradients: str = "", format: str = "") -> Dtypes:
    """Formats of a training row: `mxfp8`, `fp8(rowwise)` and the like multiply in fp8; what is unknown in bf16. Gradients of
    fp16 runs, which scale their loss, are summed in 16 bits."""
    text = format or row.text("precision").lower()
    summed: Literal["fp32", "bf16"] = "bf16" if "bf16" in (gradients, "bf16" * text.startswith("fp16")) else "fp32"
    for name, weights in (("fp4", "fp4"), ("fp8", "fp8"), ("int8", "int8"), ("fp16", "fp16"), ("fp32", "fp32")):
        if name in text and not text.startswith("bf16"):
            return Dtypes(weights=weights, gradients=summed)
    return Dtypes(weights="bf16", gradients=summed, optimizer="bf16" if "stochastic rounding" in text else "fp32")


def cluster_for(row: Row, chip: Chip, plan: Plan, source: Source = UNKNOWN) -> Cluster:
    """The chip's own ports; a node or slice smaller than the chip's usual domain bounds the inner tier; the network between
    nodes as the row's notes (`800 Gb/s a node`) or its source state it."""
    cluster = _networked(cluster_of(chip), row, source)
    inner = cluster.tiers[0]
    per_node = row.count("devices_per_node")
    size = inner.size or 1
    if inner.kind == "torus" and plan.shard_degree:
        size = min(
            size, max(1, plan.shard_degree * plan.tp // chip.ranks)
        )  # one slice; others are reached over its hosts
    elif inner.kind != "torus" and per_node and per_node < size <= 16:
        size = per_node
    if size == inner.size:
        return cluster
    tier = Tier.model_validate({**dict(inner), "size": size, "dims": ()})
    return cluster.with_(id=f"{cluster.id}-{size}", tiers=(tier, *cluster.tiers[1:]))


def _networked(cluster: Cluster, row: Row, source: Source) -> Cluster:
    """The cluster with the stated bandwidth of a node, shared by its chips, between nodes."""
    match = re.search(r"(\d+) Gb/s a node", row.text("notes"))
    stated, per_node = match.group(1) if match else source.node_gbit, row.count("devices_per_node")
    if not stated or not per_node or len(cluster.tiers) == 1:
        return cluster
    outer = Tier.model_validate({**dict(cluster.tiers[-1]), "bandwidth_bytes_per_s": float(stated) * GBIT / per_node})
    return cluster.with_(id=f"{cluster.id}-{stated}g", tiers=(*cluster.tiers[:-1], outer))
