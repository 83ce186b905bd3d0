"""Megatron-LM arguments as their users keep them: launch scripts, lists of flags, logs that print them, NeMo's YAML.

Each reader gives canonical names (underscores) with the text and the line of their value. The formats: Megatron-LM
megatron/training/arguments.py and training.py; NeMo's megatron_gpt_config.yaml (2026).
"""

from __future__ import annotations

import ast
import operator
import re
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import InputError
from .files import parse_yaml
from .imported import Note, Said

# what stands before a printed argument; bounded, so that a line of thousands of brackets is read in no time
_BEFORE = r"^[^\w\n]{0,40}(?:\[[^\]\n]{0,200}\][^\S\n]{0,40}:?[^\S\n]{0,40}|\d{1,20}:[^\S\n]{0,40})?"
PRINTED = re.compile(_BEFORE + r"([a-z][a-z0-9_]*) \.{2,} ?(.*)$")
_PRINTED_FIRST = re.compile(_BEFORE + r"(?:tensor_model_parallel_size|num_layers) \.{2,}", re.MULTILINE)
ITERATION = re.compile(
    r"\biteration\s+(\d{1,18})\s*/\s*\S+\s*\|.*?elapsed time per iteration \(ms\):\s*([^|\s]*)\s*(\|?)"
)
_FLAG = re.compile(r"(?<![\w-])--([a-zA-Z][\w.-]*)((?:[= \t]+(?!--)[^\s\\=]+)*)")
_ASSIGNED = re.compile(
    r"(?:^|[\s;&])(?:export\s+|readonly\s+|local\s+)?([A-Za-z_]\w*)=(?!\$\(\()(\"[^\"\n]*\"|'[^'\n]*'|[^\s;&()]+)"
)
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}|\$(\w+)")
_SLURM = {"nodes": "nnodes", "gpus_per_node": "nproc_per_node", "ntasks_per_node": "nproc_per_node"}
_BATCH = {"nnodes": "SLURM_NNODES", "nproc_per_node": "SLURM_GPUS_PER_NODE"}  # variables that directives set
_OPERATORS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.floordiv,
    ast.FloorDiv: operator.floordiv,
}
MOST_LETTERS, MOST_SUM = 10_000, 10**15  # of a variable, of a sum
WARM_UP_SHARE = 5  # a fifth of the logged intervals, at least the first, is warm-up


class Words(NamedTuple):
    """Values by name, in the order of the file; assumed: what a reader decided where the file left a choice.

    full: every argument is there with its default, as a log prints them.
    """

    values: dict[str, Said]
    assumed: list[Note]
    full: bool = False


class Measured(NamedTuple):
    """Median over the intervals after warm-up; how many of them; note: what was left out."""

    step_time_s: float
    tflops_per_device: float | None
    intervals: int
    note: str


def canonical(name: str) -> str:
    """`--tensor-model-parallel-size` is tensor_model_parallel_size."""
    return name.strip().lstrip("-").replace("-", "_")


def looks_like(text: str) -> bool:
    """Does a text hold arguments or iterations of Megatron-LM, or keys of NeMo?"""
    return bool(
        ITERATION.search(text)
        or re.search(r"(?:--tensor-model-parallel-size|--num-layers|--hidden-size)\b", text)
        or _PRINTED_FIRST.search(text)
        or re.search(r"^[^\S\n]*(?:tensor_model_parallel_size|num_layers|hidden_size):\s*\S", text, re.M)
    )


def words_of(text: str, name: str) -> Words:
    """The arguments in a text, whichever way they are written. Raises InputError, naming file and line, for what is malformed."""
    printed = _printed(text, name)
    if printed.values:
        return printed
    if _FLAG.search(_without_comments(text)[0]):
        return _flags(text, name)
    if re.search(r"^\s*[a-z][\w.]*:\s", text, re.MULTILINE):
        return _keys(text, name)
    raise InputError(
        f"{name}: no arguments of Megatron-LM are in it. Give a script, a list of flags, a log or a YAML file."
    )


def _printed(text: str, name: str) -> Words:
    """The block that a run prints: `  tensor_model_parallel_size ............ 8`. Every rank may print it."""
    values: dict[str, Said] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        found = PRINTED.match(line)
        if found is None:
            continue
        key, value = found[1], found[2]
        earlier = values.setdefault(key, Said(value, number))
        if earlier.text != value and key not in ("rank", "local_rank"):
            raise InputError(
                f"{name}:{number}: {key} = {value!r}, but {earlier.text!r} in line {earlier.line}: two runs. Keep one."
            )
    return Words({key: said for key, said in values.items() if said.text != "None"}, [], full=True)


def _flags(text: str, name: str) -> Words:
    """`--key value` of a shell script or a plain list; variables that the script sets are put in."""
    bare, heads = _without_comments(text)
    words = Words({}, [])
    variables = _variables(bare, {_BATCH[key]: said.text for key, said in heads.items() if key in _BATCH}, words)
    values = dict(heads)
    for number, line in enumerate(bare.splitlines(), start=1):
        for found in _FLAG.finditer(line):
            key, value = canonical(found[1]), found[2].strip("= \t\"';,")
            value = _filled(value, variables, words) if "$" in value else _closed(value)
            earlier = values.get(key)
            if earlier is not None and earlier.text.split(" ")[0] != value.split(" ")[0]:
                words.assumed.append(
                    Note(f"--{found[1]}", value, f"stands twice; line {number} counts, not line {earlier.line}")
                )
            values[key] = Said(value or "True", number)
    return words._replace(values=values)


def _closed(value: str) -> str:
    """Without the bracket or quote that ends the list that the flag stands in."""
    while value.endswith((")", '"', "'", " ")) and not (value.endswith(")") and value.count(")") <= value.count("(")):
        value = value[:-1]
    return value


def _without_comments(text: str) -> tuple[str, dict[str, Said]]:
    """The text with comments blanked out, line for line, and what comments say of the world: Slurm's directives and the
    `# world size 512` of our own launch files."""
    lines: list[str] = []
    heads: dict[str, Said] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if slurm := re.match(r"#SBATCH\s+--([\w-]+)[= ]+(?:gpu:)?(\d+)", stripped):
            key = _SLURM.get(canonical(slurm[1]))
            if key:
                heads.setdefault(key, Said(slurm[2], number))
        elif world := re.match(r"#\s*world size (\d+)", stripped):
            heads["world_size"] = Said(world[1], number)
        lines.append("" if stripped.startswith("#") else re.sub(r"\s#\s.*$", "", line))
    return "\n".join(lines), heads


def _variables(text: str, set_before: dict[str, str], words: Words) -> dict[str, str]:
    """What the script sets, from what its batch system has set."""
    variables = dict(set_before)
    for line in text.splitlines():
        for found in _ASSIGNED.finditer(line):
            value = found[2].strip("\"'")
            if "--" not in value:
                variables[found[1]] = _filled(value, variables, words) if "$" in value else value
        for sums in re.finditer(r"(?<!\w)([A-Za-z_]\w*)=(\$\(\(.*\)\))", line):
            variables[sums[1]] = _filled(sums[2], variables, words)
    return variables


def _filled(value: str, variables: dict[str, str], words: Words) -> str:
    """A value with variables put in, and sums worked out; what cannot be stays as it is written."""

    def known(found: re.Match[str]) -> str:
        key = found[1] or found[3]
        if key in variables:
            return variables[key]
        if found[2] is not None:
            note = Note(f"${key}", found[2], "not set in the file: its default counts")
            if note not in words.assumed:
                words.assumed.append(note)
            return found[2]
        return found[0]

    filled = _VARIABLE.sub(known, value)
    if len(filled) > MOST_LETTERS:  # a variable that holds itself twice, line after line
        return value
    sums = re.fullmatch(r"\$\(\((.*)\)\)", filled.strip())
    if sums is None:
        return filled
    inner = re.sub(r"[A-Za-z_]\w*", lambda each: variables.get(each[0], each[0]), sums[1])
    result = _sum(inner)
    return value if result is None or abs(result) > MOST_SUM else str(result)


def _sum(text: str) -> int | None:
    """Whole-number arithmetic of a shell; None for anything else."""

    def value(node: ast.AST) -> int:
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return node.value
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return int(_OPERATORS[type(node.op)](value(node.left), value(node.right)))
        raise ValueError

    try:
        return value(ast.parse(text.strip(), mode="eval").body)
    except (ValueError, SyntaxError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _keys(text: str, name: str) -> Words:
    """Keys of a YAML file by their last part; a list is kept as it is written."""
    document = parse_yaml(text, name)
    values: dict[str, Said] = {}
    for path, value in _leaves(document.data, ()):
        key = canonical(str(path[-1]))
        line = document.lines.get(path, 0)
        shown = "True" if value is True else "False" if value is False else str(value)
        earlier = values.get(key)
        if value is None:
            continue
        if earlier is not None and earlier.text != shown:
            values[".".join(map(str, path))] = Said(shown, line)
        else:
            values[key] = Said(shown, line)
    return Words(values, [])


def _leaves(data: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _leaves(value, (*path, key))
    elif path:
        yield path, list(data) if isinstance(data, tuple) else data


def measured(text: str, name: str, batch: int | None) -> Measured | None:
    """What the lines `iteration 10/ 100 | ... elapsed time per iteration (ms): 1147.6 | ...` measured; None if there are none.

    Only lines with the final batch count (the batch may ramp up), each iteration once; a fifth, at least the first, is
    warm-up. Raises InputError for a time that is no positive number; a last line that was cut off is left out.
    """
    lines = text.splitlines()
    found: dict[int, tuple[float, float | None]] = {}
    cut = other = 0
    for number, line in enumerate(lines, start=1):
        match = ITERATION.search(line)
        if match is None:
            continue
        if not match[3] and number == len(lines):
            cut += 1
            continue
        size = _after(line, "global batch size:", f"{name}:{number}")
        if batch is not None and size is not None and size != batch:
            other += 1
            continue
        milliseconds = _positive(match[2], "elapsed time per iteration (ms)", f"{name}:{number}")
        found[int(match[1])] = (milliseconds, _after(line, "throughput per GPU (TFLOP/s/GPU):", f"{name}:{number}"))
    if not found:
        if other:
            raise InputError(f"{name}: no iteration has the global batch of {batch}. Give a log that reached it.")
        return None
    intervals = list(found.values())
    warm = max(1, len(intervals) // WARM_UP_SHARE) if len(intervals) > 1 else 0
    kept = intervals[warm:]
    rates = [rate for _, rate in kept if rate is not None]
    said = [f"median of {len(kept)} logged intervals", f"{warm} before them left out as warm-up"]
    said += [f"{other} of another batch size left out"] * bool(other) + ["the last line is cut off"] * cut
    return Measured(
        statistics.median(time for time, _ in kept) / 1e3,
        statistics.median(rates) if rates else None,
        len(kept),
        "; ".join(said),
    )


def _after(line: str, label: str, place: str) -> float | None:
    found = re.search(re.escape(label) + r"\s*([^|\s]+)", line)
    return _positive(found[1], label.rstrip(":"), place) if found else None


def _positive(text: str, label: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise InputError(f"{place}: {label} = {text!r} is not a number above 0. Mend or remove the line.")
    return value
