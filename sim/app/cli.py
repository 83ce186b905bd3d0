"""The command `gambrel`: parse, call a verb, print. Commands load when they are named, so that `--help` stays quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, NamedTuple

import typer

from .. import __version__
from ..errors import GambrelError


class Command(NamedTuple):
    """Where a command's function stands, its line in the list, and what one may type after `gambrel NAME`."""

    module: str
    help: str
    examples: tuple[str, ...] = ()


COMMANDS = {
    "demo": Command("demo", "The whole tour: how far off, train, serve, why. Under a minute."),
    "devices": Command("listings", "Chips of the catalogue; with an ID, one of them with its sources.", ("", "h100")),
    "models": Command(
        "listings", "Models of the catalogue; with an ID, one of them.", ("", "llama-3.1-70b", "path/to/config.json")
    ),
    "clusters": Command(
        "listings", "Clusters of the catalogue; with an ID, one of them with its network.", ("", "tpu-v5p")
    ),
    "support": Command(
        "listings",
        "What is answered for a model on a chip, and how well calibrated.",
        ("llama-3.1-70b", "deepseek-v3 trainium2"),
    ),
    "fit": Command(
        "runs",
        "Memory by part: does it fit, and by how much.",
        (
            "llama-3.1-405b --role serve --cluster trn2 --tp 64",
            "gpt-3-175b --cluster dgx-a100 --devices 512 --tp 8 --pp 8 --global-batch 512",
        ),
    ),
    "train": Command(
        "runs",
        "Train a model: step time, MFU, memory, days, money, energy, and why.",
        (
            "--model llama-3.1-70b --cluster dgx-h100 --devices 512 --tp 8 --pp 4 --global-batch 512 --tokens 1e12",
            "scenario.yaml --micro-batch 2 --json",
            "--model path/to/config.json --cluster tpu-v5p --devices 256 --sharding zero3 --seq-len 8192",
        ),
    ),
    "serve": Command(
        "runs",
        "Serve a model: latency, throughput, cost of a million tokens, and why.",
        (
            "--model llama-3.1-70b --cluster hgx-h200 --tp 4 --trace requests.csv --ttft 1s --tpot 50ms",
            "--model llama-3.1-8b --cluster tpu-v5e --tp 8 --rate 3 --input-tokens 1000 --output-tokens 200",
            "--model deepseek-v3 --cluster hgx-h200 --tp 8 --ep 8 --concurrency 64 --input-tokens 1024 --output-tokens 1024",
        ),
    ),
    "trace": Command(
        "runs",
        "Write the timeline of a training step for ui.perfetto.dev.",
        ("--model llama-3.1-70b --cluster dgx-h100 --devices 64 --tp 8 --pp 4 --global-batch 32 -o step.pftrace",),
    ),
    "validate": Command(
        "checks",
        "Predict measured rows and say how far off the predictions are.",
        (
            "kernels",
            "training my_runs.csv --rows predicted.csv",
            "serving folder --rows predicted --calibration family",
            "whatif serving_runs.csv --rows pairs.csv",
            "training path/to/run.log --cluster dgx-h100",
        ),
    ),
    "import": Command(
        "imports",
        "Read a user's file: training runs, launches, results of benchmarks, profiles, power, failures, networks.",
        (
            "path/to/run.log -o run.csv",
            "path/to/launch.sh --cluster dgx-h100 --devices 512 -o scenario.yaml",
            "path/to/result_0.txt --precision fp8 --devices 64",
            "path/to/bench.json --cluster h100 --tp 2 --precision fp8 -o served.csv",
            "path/to/vllm.sh --cluster h100 -o serving.yaml",
            "path/to/torchtitan.toml --cluster dgx-h100 -o scenario.yaml",
            "path/to/trace.json --cluster h100 --engine vllm -o kernels",
            "path/to/power.csv --model llama-3.1-70b --cluster h100 --engine vllm -o power.csv",
            "path/to/clients -o generator.yaml",
        ),
    ),
    "whatif": Command(
        "whatif",
        "Change a value of chip, cluster, model, plan or price: both sides, what matters, what binds next.",
        (
            "scenario.yaml --set chip.memory.bandwidth*=2",
            "scenario.yaml --tornado",
            "--role serve --model llama-3.1-70b --cluster h100 --tp 4 --concurrency 32 --input-tokens 1000 "
            "--output-tokens 100 --until memory.bandwidth",
        ),
    ),
    "claims": Command(
        "claims",
        "Public claims about models and their cost, derived again: verdict, arithmetic, uncertainty.",
        ("", "gpt-3-cost", "path/to/claim.yaml --json"),
    ),
    "lifetime": Command(
        "lifetime",
        "Size and training tokens for the least cost of training plus serving, at equal loss.",
        (
            "chinchilla-70b --tokens 1.4e12 --served 1e13",
            "llama-3.1-70b --tokens 15e12 --served 1e14 --train scenario.yaml --serve serving.yaml",
        ),
    ),
    "own": Command(
        "own",
        "Own or rent a chip: dollars for an hour of use, net present value, break-even.",
        ("h100-sxm terms.yaml --usd-per-kwh 0.08", "b200 terms.yaml --usd-per-kwh 0.08 --rent 4.5 --pue 1.2"),
    ),
    "sweep": Command(
        "sweep",
        "Evaluate many scenarios from one file into one table; stop and resume at any point.",
        (
            "sweep.yaml --out results",
            "sweep.yaml --workers 2 --resume --out results",
        ),
    ),
    "report": Command(
        "report",
        "A result on one page: figures, time, kernels, memory, timeline, fronts; --html for a browser, without a network.",
        ("out/result.json --html", "scenario.yaml --html -o chat.html", "out --folder --out pages"),
    ),
    "rerun": Command(
        "trust",
        "Answer a stored result's question again: the same figures, or which fact has changed.",
        ("out/result.json", "out/result.json --seed 1"),
    ),
    "diff": Command(
        "trust",
        "Two stored results: which fact, price or value of the scenario moved which figure by how much.",
        ("before/result.json after/result.json",),
    ),
    "explain": Command(
        "trust",
        "Where a figure comes from: its terms, down to the catalogue's values and their sources.",
        ("out/result.json step_time", "out/result.json cost --depth 3"),
    ),
    "export traffic": Command(
        "export",
        "Write traffic as a trace that load generators replay, or as a generator fitted to it.",
        (
            "--trace requests.csv -o generator.yaml",
            "--generator azure_conversation.yaml --requests 5000 --scale-rate 2 -o load.jsonl",
            "--rate 4 --gap-variation 3 --input-tokens 2000 --output-tokens 300 --spread 0.8 -o load.jsonl",
        ),
    ),
    "export chakra": Command(
        "export_chakra",
        "Write a training step as Chakra execution traces, with the groups of ranks and ASTRA-sim's network.",
        ("scenario.yaml -o traces", "scenario.yaml --devices 16 --ranks all -o traces"),
    ),
    "export astra-sim": Command(
        "export_chakra",
        "Write a cluster's network as the YAML of ASTRA-sim.",
        ("--model llama-3.1-8b --cluster tpu-v5p --devices 64 -o network.yml",),
    ),
    "export vllm-bench": Command(
        "export_results",
        "Write a result of `serve` as `vllm bench serve` saves one.",
        ("served -o bench.json",),
    ),
    "export aiperf": Command(
        "export_results",
        "Write a result of `serve` as AIPerf exports one: summary, or single requests.",
        ("served -o profile_export_aiperf.json", "served -o profile_export.jsonl"),
    ),
    "export vllm": Command("launches", "Write `vllm serve` for a serving scenario.", ("serving.yaml -o vllm.sh",)),
    "export sglang": Command("launches", "Write SGLang's launch for a serving scenario.", ("serving.yaml",)),
    "export trtllm": Command(
        "launches", "Write `trtllm-serve` and its options for a serving scenario.", ("serving.yaml",)
    ),
    "export k8s": Command(
        "launches", "Write a Kubernetes Deployment and Service for a serving scenario.", ("serving.yaml -o vllm.yaml",)
    ),
    "export dynamo": Command(
        "launches", "Write a DynamoGraphDeployment for a serving scenario.", ("serving.yaml -o graph.yaml",)
    ),
    "export neuron": Command(
        "launches",
        "Write `vllm serve` with the buckets that Neuron compiles for.",
        ("--model llama-3.1-8b --cluster trn2 --tp 8 --concurrency 8 --input-tokens 1000 --output-tokens 100",),
    ),
    "export slurm": Command(
        "launches",
        "Write a batch script of Slurm: torchrun for a training scenario, an array of replicas for a serving one.",
        ("scenario.yaml -o train.sbatch", "serving.yaml"),
    ),
    "export megatron": Command(
        "launches", "Write Megatron-LM's arguments for a training scenario.", ("scenario.yaml -o megatron.txt",)
    ),
    "export torchtitan": Command(
        "launches", "Write torchtitan's overrides for a training scenario.", ("scenario.yaml",)
    ),
    "export maxtext": Command(
        "launches", "Write a YAML of MaxText for a training scenario.", ("scenario.yaml -o maxtext.yml",)
    ),
    "calibrate": Command(
        "calibrate",
        "Fit a chip's kernels to measured times, or factors of a site to serving benchmarks.",
        (
            "kernels.csv --chip h100 --stack vllm",
            "folder --chip b200 --catalog mine",
            "serving_runs.csv --chip b200 --catalog mine",
        ),
    ),
    "search train": Command(
        "search",
        "Rank every training plan that is legal: the fastest, why it wins, how to launch it.",
        (
            "--model llama-3.1-8b --cluster dgx-h100 --devices 64 --global-batch 256 --seq-len 8192",
            "--model gpt-3-175b --cluster dgx-a100 --devices 512 --global-batch 2048 --tp 8 --emit megatron",
        ),
    ),
    "search serve": Command(
        "search_serve",
        "Rank ways to serve a model on several chips: cost, limits, what binds, how to launch the winner.",
        (
            "--model llama-3.1-8b --clusters h100,l40s --rate 8 --requests 200 --input-tokens 1000 --output-tokens 200 "
            "--ttft 1s --tpot 50ms",
            "--model llama-3.1-8b --clusters h100 --concurrency 32 --input-tokens 512 --output-tokens 128 --emit vllm",
        ),
    ),
    "capacity": Command(
        "capacity",
        "Of fleet size (devices, power, money), demand and latency, solve for the one that is free; plan fleets over quarters.",
        (
            "--model llama-3.1-8b --cluster h100 --rate 30 --input-tokens 1000 --output-tokens 200 --ttft 1s --tpot 50ms",
            "--model llama-3.1-8b --cluster h100 --devices 2 --input-tokens 1000 --output-tokens 200 --ttft 1s --tpot 50ms",
            "three-regions",
        ),
    ),
    "ui": Command("ui", "Show the local page: questions, what-if sliders, catalogue, accuracy. On this machine only."),
    "schema": Command("listings", "JSON Schema of a kind of catalogue file.", ("chip", "scenario")),
}
GROUPS = {
    "search": "Search: the best plans for a question. `gambrel search train --help`.",
    "export": "Export: files that other tools read. `gambrel export traffic --help`.",
}
WORDS = tuple(dict.fromkeys(word for name in COMMANDS for word in name.split(" ")))
EPILOG = "Start with: gambrel demo"


def build(wanted: Collection[str] = WORDS) -> typer.Typer:
    """The application. Commands of which a word is not wanted are only listed: their options are never built."""
    app = typer.Typer(
        name="gambrel",
        help="How fast, how costly and how reliable a transformer runs on a cluster that you do not have.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    groups: dict[str, typer.Typer] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        if first in wanted and second in ("", *wanted):
            own = (second or first).replace("-", "_")
            function = getattr(import_module(f".{command.module}", __package__), own + "_" * iskeyword(own))
        else:
            function = _listed
        lines = "\n\n".join(f"gambrel {name} {example}".rstrip() for example in command.examples)
        place = app
        if second:
            if first not in groups:
                groups[first] = typer.Typer(help=GROUPS[first], no_args_is_help=True)
                app.add_typer(groups[first], name=first)
            place = groups[first]
        place.command(second or first, help=command.help, epilog=f"Examples\n\n{lines}" if lines else None)(function)
    return app


def _listed() -> None:
    """Stands for a command that is only listed."""


def _version(asked: bool) -> None:
    if asked:
        print(f"gambrel {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def run(arguments: list[str]) -> int:
    """Run one command line; the exit code: 0 done, 1 legal but does not fit, 2 malformed or illegal."""
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    app = build(WORDS if completing else [word for word in WORDS if word in arguments])
    try:
        code = app(arguments, standalone_mode=False, prog_name="gambrel")
    except GambrelError as error:
        print(f"gambrel: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        message: Callable[[], str] | None = getattr(error, "format_message", None)  # how typer marks errors of usage
        if message is None:
            raise
        place = getattr(getattr(error, "ctx", None), "command_path", "gambrel")
        print(f"gambrel: {message()} See `{place} --help`.", file=sys.stderr)
        return 2
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the console script. The working folder may hold a user's own scheduler or router."""
    sys.path.append(os.getcwd())
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe went away: nothing is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
