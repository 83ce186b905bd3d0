"""Coverage-guided runs of a reader (Atheris): what reaches code that nothing reached before is changed further."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from . import fuzz
from .fuzz import Broken, folder, one
from .kept import ROOT
from .mutate import mutated
from .readers import READERS

# compiled code cannot be watched, and holds no reader
WATCHED = [
    "sim.catalog",
    "sim.evidence",
    "sim.training.sacct",
    "sim.studies.provenance",
    "sim.studies.points",
    "sim.units",
]


COMPILED = ("table", "nccl-tests")  # go on into compiled code, which cannot be compiled while it is watched
SLOWER = 5.0  # watched code


def installed() -> bool:
    return find_spec("atheris") is not None


def guided(name: str, runs: int) -> dict[str, Any]:
    """So many runs in a process of their own: edges of code that were reached at first and in the end, and what broke."""
    line = [sys.executable, "-m", "benchmarks.reliability.guided", name, str(runs)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    broken = [json.loads(each) for each in done.stdout.splitlines() if each.startswith('["')]
    edges = [int(each) for each in re.findall(r"\bcov: (\d+)", done.stderr)]
    if done.returncode or not edges:
        broken.append([f"{name}: exit {done.returncode}: {done.stderr[-400:]}", ""])
    return {"runs": runs, "edges_first": edges[0] if edges else 0, "edges": edges[-1] if edges else 0, "broken": broken}


def _main(name: str, runs: int) -> None:
    import atheris

    fuzz.MOST_S *= SLOWER
    reader, place = READERS[name], folder()
    samples = reader.samples()
    corpus = place / "corpus"
    corpus.mkdir()
    with atheris.instrument_imports(include=WATCHED):
        for number, sample in enumerate(samples):
            (corpus / str(number)).write_bytes(sample)
            path = place / f"input{reader.ending}"
            path.write_bytes(sample)
            reader.read(path)

    def tried(data: bytes) -> None:
        try:
            one(reader, data, place)
        except Broken as error:
            print(json.dumps([str(error), data[:2000].decode("latin-1")]), flush=True)

    def changed(data: bytes, size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.2:
            return bytes(atheris.Mutate(data, size))
        return mutated(data or chance.choice(samples), reader.kind, chance)[:size]

    largest = max(map(len, samples))
    flags = [
        f"-runs={runs}",
        "-seed=1",
        f"-max_len={4 * largest + 4096}",
        "-timeout=120",
        "-rss_limit_mb=4000",
        f"-artifact_prefix={place}/",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], tried, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
