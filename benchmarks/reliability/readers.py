"""Every reader of users' files, one line each: samples that are whole, and what reads them (and goes one step on with them)."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from sim.errors import GambrelError

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("train", "--model", "llama-3.1-8b", "--cluster", "dgx-h100", "--devices", "16", "--global-batch", "64")
SAMPLES = ROOT / "tests" / "catalog" / "samples"
NCCL = ROOT / "tests" / "evidence" / "nccl"
OWNED = b"""purchase_usd: 30000
life_years: 5
discount_rate: 0.08
residual_share: 0.1
staff_usd_per_year: 500
maintenance_share: 0.05
space_usd_per_kw_month: 120
spare_share: 0.02
busy_share: 0.9
"""
SACCT = b"""JobID|Elapsed|State|AllocTRES
101|1-02:03:04|COMPLETED|billing=8,cpu=64,gres/gpu=8,node=1
101.batch|1-02:03:04|COMPLETED|cpu=64,gres/gpu=8
102|10:00:00|NODE_FAIL|gres/gpu:h100=16,node=2
103|45:10|FAILED|gres/gpu=8
"""
GRID = b"datetime,kg_co2_per_kwh\n2026-03-01T00:00,0.31\n2026-03-01T01:00,0.30\n2026-03-01T02:00,0.28\n"
QUANTISED = b"""{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8",
"group_size": 16, "exclude_modules": ["lm_head", "model.layers.0*"]}}"""


class Reader(NamedTuple):
    """kind: of `mutate`; ending: of the file; read: takes the file's path, returns, or raises a GambrelError."""

    name: str
    kind: str
    ending: str
    samples: Callable[[], list[bytes]]
    read: Callable[[Path], object]


def _files(folder: str, pattern: str, most: int = 12) -> Callable[[], list[bytes]]:
    def samples() -> list[bytes]:
        found = sorted((ROOT / folder).glob(pattern), key=lambda path: path.stat().st_size)
        return [path.read_bytes() for path in found[:: max(1, len(found) // most)]]

    return samples


def _head(path: str, rows: int = 2) -> Callable[[], list[bytes]]:
    """The first and the last rows of a table."""

    def samples() -> list[bytes]:
        lines = (ROOT / path).read_bytes().splitlines(keepends=True)
        return [b"".join(lines[: rows + 1]), b"".join([lines[0], *lines[-rows:]])]

    return samples


def _texts(*contents: bytes) -> Callable[[], list[bytes]]:
    return lambda: list(contents)


@cache
def library() -> Any:
    from sim.catalog.library import Library

    return Library()


def _record(module: str, name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        from importlib import import_module

        from sim.catalog.records import read as read_record

        return read_record(getattr(import_module(f"sim.catalog.{module}"), name), path)

    return read


def _scenario(path: Path) -> object:
    from sim import api
    from sim.catalog.scenarios import read_scenario

    asked = read_scenario(path)
    return json.dumps(api.fit(asked, library()).to_dict(), allow_nan=False) if len(asked.groups) == 1 else asked


def _chip(path: Path) -> object:
    from sim.catalog.chips import Chip
    from sim.catalog.library import cluster_of
    from sim.catalog.records import read

    chip = read(Chip, path)
    return cluster_of(chip), chip.matmul_flops_per_s("bf16")


def _cluster(path: Path) -> object:
    from sim.catalog.clusters import sliced

    found = library().cluster(str(path))
    library()._read.pop(path, None)
    return found.failures_per_s(64), sliced(found, 16), found.paid(64)


def _fitting(model: str) -> object:
    """Does a model file fit on a chip?"""
    from sim import api
    from sim.catalog.scenarios import Group, Scenario

    group = Group(role="serve", model=model, cluster="h100", devices=8)
    try:
        return json.dumps(api.fit(Scenario(groups=(group,)), library()).to_dict(), allow_nan=False)
    finally:
        library()._read.pop(Path(model), None)


def _model(path: Path) -> object:
    return _fitting(str(path))


def _quantised(path: Path) -> object:
    """hf_quant_config.json beside a whole config.json."""
    (path.parent / "config.json").write_bytes((SAMPLES / "configs" / "Qwen3-8B.json").read_bytes())
    beside = path.rename(path.with_name("hf_quant_config.json"))
    try:
        return _fitting(str(path.parent / "config.json"))
    finally:
        beside.unlink()


def _sweep(path: Path) -> object:
    from sim.catalog.sweeps import read_sweep
    from sim.studies.points import points

    return points(read_sweep(path)).n


def _fleet_plan(path: Path) -> object:
    from sim.catalog.fleet_plans import read_fleet_plan

    return read_fleet_plan(path)


def _generator(path: Path) -> object:
    from sim.catalog.generators import drawn, read_generator

    return drawn(read_generator(path), 100, 0)


def _trace(path: Path) -> object:
    from sim.catalog.mooncake import jsonl
    from sim.catalog.traffic import read_trace

    return jsonl(read_trace(path))


def _table(path: Path) -> object:
    """Read a table, predict and score its rows."""
    from sim.evidence.context import Context
    from sim.evidence.tables import read_table
    from sim.evidence.validate import PREDICT, validate

    verb = read_table(path, library()).kind.verb
    if verb not in PREDICT:
        return verb
    return json.dumps(validate(verb, path, context=Context(library())).to_dict(), allow_nan=False)


_BESIDE = ((), ("--cluster", "h100"), ("--cluster", "h100", "--model", "llama-3.1-8b", "--input-tokens", "512"))


def _import(path: Path) -> object:
    """`gambrel import`, as far as its screen, its JSON and its table; with what only flags say where that is asked for."""
    for flags in _BESIDE:
        with contextlib.suppress(Refused):
            code = command("import", str(path), *flags, "--json")
            for written in (".out.csv", ".out.yaml"):  # a table or a scenario: one of them is refused
                with contextlib.suppress(Refused):
                    command("import", str(path), *flags, "-o", str(path.with_suffix(written)))
            return code
    raise Refused("import")


def command(*words: str) -> int:
    """A command line with what it prints thrown away; the exit code."""
    from sim.app.cli import run
    from sim.app.output import Call

    Call.library = lambda self: library()  # type: ignore[method-assign]  # the catalogue is read once a process
    with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()) as said:
        code = run(list(words))
    assert code in (0, 1, 2), code
    assert code == 0 or said.lines <= 1, f"{said.lines} lines on stderr"
    if code == 2:
        raise Refused(" ".join(words))
    return code


class Refused(GambrelError):
    """The command said in one line what is wrong."""


class _Nowhere(io.TextIOBase):
    """Encodes as a terminal would, counts lines, and keeps nothing."""

    lines = 0
    encoding = "utf-8"

    def write(self, text: str) -> int:
        text.encode("utf-8", "backslashreplace")
        if not text.startswith("INFO: Instrumenting"):  # what watches the code says of its own
            self.lines += text.count("\n")
        return len(text)


def _prices(path: Path) -> object:
    from sim.catalog.prices import read_prices

    return read_prices(path)


def _grid(path: Path) -> object:
    from datetime import timedelta

    from sim.catalog.grid import read_grid

    grid = read_grid(path)
    return grid.mean(grid.start + timedelta(hours=1), 1e5)


def _sacct(path: Path) -> object:
    from sim.training.sacct import read_sacct

    return read_sacct(path).mtbf_s()


@cache
def _stored() -> tuple[bytes, bytes]:
    """result.json and facts.json of a training answer."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        command(*TRAIN, "--tp", "2", "--tokens", "1e11", "--out", folder)
        return (Path(folder) / "result.json").read_bytes(), (Path(folder) / "facts.json").read_bytes()


def _result(path: Path) -> object:
    """`rerun`, `diff` and `explain` of a result beside its whole facts."""
    result, facts = _stored()
    (path.parent / "facts.json").write_bytes(facts)
    whole = path.with_name("whole.json")
    whole.write_bytes(result)
    try:
        return [
            command("rerun", str(path)),
            command("diff", str(path), str(whole), "--json"),
            command("explain", str(path), "step_time"),
        ]
    finally:
        (path.parent / "facts.json").unlink()
        whole.unlink()


def _facts(path: Path) -> object:
    """`explain` and `diff` of a whole result beside its facts."""
    beside = path.rename(path.with_name("facts.json"))
    whole = path.with_name("result.json")
    whole.write_bytes(_stored()[0])
    try:
        return [command("explain", str(whole), "cost"), command("diff", str(whole), str(whole), "--json")]
    finally:
        beside.unlink()
        whole.unlink()


def _packed(folder: str, pattern: str) -> Callable[[], list[bytes]]:
    return lambda: [gzip.compress(each, mtime=0) for each in _files(folder, pattern)()]


_MEASURED = {
    "gemm": "devices/measured/gemm.csv",
    "attention prefill": "devices/measured/attention_prefill.csv",
    "attention decode": "devices/measured/attention_decode.csv",
    "moe": "devices/measured/moe.csv",
    "collective": "devices/measured/collective.csv",
    "collectives": "devices/measured/collectives_multinode.csv",
    "operators": "devices/measured/operators.csv",
    "training": "workloads/measured/training.csv",
    "serving": "workloads/measured/serving.csv",
    "inference": "workloads/measured/inference.csv",
    "power": "workloads/measured/power.csv",
    "campaigns": "workloads/measured/campaigns.csv",
}
_GOLDEN = "tests/catalog/samples"
_IMPORTED = (
    ("configs_training", "maxtext_golden.yml", "yaml"),
    ("configs_training", "torchtitan_golden.toml", "text"),
    ("launches", "sglang_golden.sh", "text"),
    ("launches", "vllm_golden.sh", "text"),
    ("logs", "astra_network_golden.yml", "yaml"),
    ("logs", "dcgm_golden.txt", "text"),
    ("logs", "kineto_golden.json", "json"),
    ("logs", "mlperf_summary_golden.txt", "text"),
    ("logs", "nvidia_smi_golden.csv", "csv"),
    ("served", "guidellm_golden.json", "json"),
    ("served", "llmperf_golden.json", "json"),
    ("served", "trtllm_golden.json", "json"),
)
_TRACES, _SERVED, _RUNS = (f"tests/catalog/samples/{name}" for name in ("traces", "served", "runs"))


def _readers() -> Iterable[Reader]:
    yield Reader("scenario", "yaml", ".yaml", _files("workloads/scenarios", "*.yaml"), _scenario)
    yield Reader("chip", "yaml", ".yaml", _files("devices/chips", "*.yaml"), _chip)
    yield Reader("cluster", "yaml", ".yaml", _files("devices/clusters", "*.yaml"), _cluster)
    yield Reader("family", "yaml", ".yaml", _files("devices/families", "*.yaml"), _record("chips", "Family"))
    yield Reader("stack", "yaml", ".yaml", _files("devices/stacks", "*.yaml"), _record("calibrations", "Stack"))
    yield Reader(
        "calibration", "yaml", ".yaml", _files("devices/calibrations", "*.yaml"), _record("calibrations", "Calibration")
    )
    yield Reader("model", "yaml", ".yaml", _files("workloads/models", "*.yaml"), _model)
    yield Reader("claim", "yaml", ".yaml", _files("workloads/claims", "*.yaml"), _record("claims", "Claim"))
    yield Reader("law", "yaml", ".yaml", _files("workloads/laws", "*.yaml"), _record("claims", "ScalingLaw"))
    yield Reader("sweep", "yaml", ".yaml", _files("workloads/sweeps", "*.yaml"), _sweep)
    yield Reader("fleet plan", "yaml", ".yaml", _files("workloads/fleets", "*.yaml"), _fleet_plan)
    yield Reader("traffic generator", "yaml", ".yaml", _files("workloads/traffic", "*.yaml"), _generator)
    yield Reader("terms of owning", "yaml", ".yaml", _texts(OWNED), _record("ownership", "Owned"))
    yield Reader("config.json", "json", ".json", _files("tests/catalog/samples/configs", "*.json"), _model)
    yield Reader("hf_quant_config.json", "json", ".json", _texts(QUANTISED), _quantised)
    yield Reader("trace, Azure", "csv", ".csv", _files(_TRACES, "azure*golden.csv"), _trace)
    yield Reader("trace, BurstGPT", "csv", ".csv", _files(_TRACES, "burstgpt*golden.csv"), _trace)
    yield Reader("trace, Mooncake", "jsonl", ".jsonl", _files(_TRACES, "*golden.jsonl"), _trace)
    yield Reader("trace, gzipped", "text", ".csv.gz", _packed(_TRACES, "azure*golden.csv"), _trace)
    for name, path in _MEASURED.items():
        yield Reader(f"table, {name}", "csv", ".csv", _head(path), _table)
    for folder, file, kind in _IMPORTED:
        found = Path(file)
        yield Reader(
            f"import, {found.stem.removesuffix('_golden')}",
            kind,
            found.suffix,
            _files(f"{_GOLDEN}/{folder}", file),
            _import,
        )
    yield Reader("benchmark, vLLM", "json", ".json", _files(_SERVED, "vllm_golden.json"), _import)
    yield Reader("benchmark, SGLang", "jsonl", ".jsonl", _files(_SERVED, "sglang_golden.jsonl"), _import)
    yield Reader("benchmark, AIPerf", "json", ".json", _files(_SERVED, "aiperf_golden.json"), _import)
    yield Reader(
        "benchmark, AIPerf requests", "jsonl", ".jsonl", _files(_SERVED, "aiperf_requests_golden.jsonl"), _import
    )
    yield Reader("benchmark, InferenceX", "json", ".json", _files(_SERVED, "inferencex_golden.json"), _import)
    yield Reader("mllog", "text", ".txt", _files(_RUNS, "mllog_golden.txt"), _import)
    yield Reader("Megatron-LM, script", "text", ".sh", _files(_RUNS, "launch_golden.sh"), _import)
    yield Reader("Megatron-LM, log", "text", ".log", _files(_RUNS, "megatron_golden.log"), _import)
    yield Reader("Megatron-LM, NeMo YAML", "yaml", ".yaml", _files(_RUNS, "nemo_golden.yaml"), _import)
    yield Reader("nccl-tests, text", "text", ".txt", _files("tests/evidence/nccl", "*.txt"), _table)
    yield Reader("nccl-tests, JSON", "json", ".json", _files("tests/evidence/nccl", "*.json"), _table)
    yield Reader("sacct", "psv", ".txt", _texts(SACCT), _sacct)
    yield Reader("prices", "csv", ".csv", _head("devices/prices.csv"), _prices)
    yield Reader("carbon of a grid", "csv", ".csv", _texts(GRID), _grid)
    yield Reader("result.json", "json", ".json", lambda: [_stored()[0]], _result)
    yield Reader("facts.json", "json", ".json", lambda: [_stored()[1]], _facts)


READERS: dict[str, Reader] = {reader.name: reader for reader in _readers()}
