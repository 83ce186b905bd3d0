"""docs/reliability.md from what the runs came to."""
# ruff: noqa: E501

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Runs = dict[str, Any]
HEAD = """# How reliable it is

What Gambrel does with broken files, when it is killed, on a full disk, beside itself, and over a long run. Written by
`make reliability`, which runs everything on this page (`make reliability FAST=1`: the same with few runs, in a few minutes;
it goes on where it was stopped). {where}

"""


def page(found: Runs) -> str:
    """The whole page. found: by part, see `__main__`."""
    parts = [_fuzz(found["fuzz"], found["guided"]), _kill(found["kill"])]
    parts += [_together(found["together"])] if "together" in found else []
    parts += [_same(found)] if "pythons" in found else []
    parts += [_soak(found)] if "fleet" in found else []
    return HEAD.format(where=_where(found)) + "\n".join(parts)


def _where(found: Runs) -> str:
    return (
        f"This run: {found['date']}, Gambrel {found['version']}, Python {platform.python_version()}, {found['cores']} cores, "
        f"{found['memory_gib']:.0f} GiB, {platform.system()} on {platform.machine()}."
    )


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])


def _wrong(parts: Sequence[Runs]) -> str:
    wrong = [each for part in parts for each in part.get("wrong", ())]
    return "Nothing went wrong.\n" if not wrong else "Wrong:\n\n" + "\n".join(f"- {each}" for each in wrong) + "\n"


def _fuzz(fuzz: Runs, guided: Runs) -> str:
    rows = [
        [
            name,
            *map(_count, (each["inputs"], each["result"], each["refused"], len(each["broken"]))),
            f"{each['slowest_s']:.2f}",
            _count(each["more_bytes"] / 1e6),
        ]
        for name, each in fuzz.items()
    ]
    inputs, broken = sum(each["inputs"] for each in fuzz.values()), sum(len(each["broken"]) for each in fuzz.values())
    rows.append(
        [
            "**all**",
            _count(inputs),
            *(_count(sum(each[key] for each in fuzz.values())) for key in ("result", "refused")),
            _count(broken),
            f"{max(each['slowest_s'] for each in fuzz.values()):.2f}",
            _count(max(each["more_bytes"] for each in fuzz.values()) / 1e6),
        ]
    )
    text = f"""## Broken files

Every reader of users' files gets whole samples with one to four things changed: values of another kind, NaN, infinities, negative,
zero and huge numbers, deep nesting, aliases that expand, keys twice, lines cut or moved, bytes flipped, invalid UTF-8, NUL, byte order
marks, other line ends, very long lines. What reads a file goes on with it as its command does: a model is fitted onto a chip, a table is
predicted and scored, a result is rerun, compared and explained. Allowed is an answer or one line that says what is wrong; a traceback, more
than {2:g} s of processor time or more than 500 MB is broken. {_count(inputs)} inputs, {_count(broken)} broken.
`make reliability` gives each reader 10,000 unless `--inputs` says otherwise; the table says how many it got in this run; its memory counts the making of the inputs too.

"""
    text += _table(("reader", "inputs", "answered", "refused", "broken", "slowest [s]", "most memory [MB]"), rows)
    worst = [f"- {name}: {each[0][:200]}" for name, found in fuzz.items() for each in found["broken"][:3]]
    text += "\nBroken:\n\n" + "\n".join(worst) + "\n" if worst else ""
    if not guided:
        return text + "\nNo coverage-guided runs were part of this run (they need Atheris).\n"
    runs, gone = (
        sum(each["runs"] for each in guided.values()),
        [(name, each) for name, found in guided.items() for each in found["broken"]],
    )
    reached = (
        sum(each["edges"] for each in guided.values()) / max(1, sum(each["edges_first"] for each in guided.values()))
        - 1.0
    )
    text += f"\nCoverage-guided (Atheris) on top: {_count(runs)} runs over {len(guided)} readers reached {reached:.0%} more edges of their code than "
    return (
        text
        + f"the samples do; {_count(len(gone))} broken.\n"
        + "".join(f"\n- {name}: {each[0][:200]}" for name, each in gone[:10])
    )


def _kill(kill: Runs) -> str:
    rows = [
        [
            name,
            *(_count(each["killed"][key]) for key in ("kills", "resumed")),
            *(_count(each["filled"][key]) for key in ("runs", "full")),
            _count(len(each["killed"]["wrong"]) + len(each["filled"]["wrong"])),
        ]
        for name, each in kill.items()
    ]
    mounts = any(each["filled"]["mounts"] for each in kill.values())
    disk = (
        "a file system of a few pages, or files that may not grow past a random size"
        if mounts
        else "files that may not grow past a random size"
    )
    return f"""## Killed, and on a full disk

Commands are killed (SIGKILL) at random moments, half of them just as they begin to write, and started again. After each kill every file in
the folder must be whole, no file may be gone that was there, and in the end the folder must hold what an undisturbed run leaves, byte for
byte; a sweep goes on from its journal. Hidden files that end in `.part` may be left by a kill; the next write of the same file takes
those away that are older than an hour. The same commands run on a disk that is too small ({disk}): the old file
stays, no half file is left, standard error gets one line, the exit code is 2, and with room again the result is the same.

{_table(("command", "kills", "starts on top of an earlier run", "runs on a small disk", "of them full", "wrong"), rows)}
{_wrong([part for each in kill.values() for part in each.values()])}"""


def _together(together: Runs) -> str:
    return f"""## Beside itself

Two processes that start with an empty cache of compiled code compile and keep the same functions at once; both and a third one answer
alike. Of two sweeps into one folder one says in one line that the folder is in use, and the table is that of one sweep.
{_wrong([together])}"""


def _same(found: Runs) -> str:
    versions, workers, executors = found["pythons"], found["workers"], found["executors"]
    other = (
        f" and by Python {versions['other']}"
        if versions["other"]
        else "; no other version of Python was given (`GAMBREL_OTHER_PYTHON`)"
    )
    return f"""## The same bytes

| over | compared | the same |
|---|---|---|
| workers {", ".join(map(str, workers["workers"]))} | {workers["sweeps"]} sweeps, {workers["points"]} points, every column | {_yes(workers)} |
| executors | {executors["schedules"]} schedules on SimPy and compiled; {executors["servings"]} served runs with and without leaps | {_yes(executors)} |
| Python | {versions["commands"]} commands with `--json`, twice by Python {versions["python"]}{other}; all but version and time | {_yes(versions)} |

{_wrong([workers, executors, versions])}"""


def _yes(part: Runs) -> str:
    return "yes" if not part["wrong"] else "no"


def _soak(found: Runs) -> str:
    fleet, stream = found["fleet"], found["stream"]
    mb = lambda value: f"{value / 1e6:,.0f} MB"
    return f"""## A long run

{_count(fleet["requests"])} requests, whose rate swings, go to a fleet that is scaled between {fleet["least_up"]} and {fleet["most_up"]} replicas by its load and whose replicas fail:
{_count(fleet["simulated_s"])} s simulated, {_count(fleet["failures"])} failures, {_count(fleet["starts"])} starts, {_count(fleet["sent_again"])} requests sent again, {_count(fleet["tokens"])} tokens, in {_count(fleet["cpu_s"])} s of processor time. Watched all
along: every request ends once, and whole; never more KV than there is, and all of it comes back; tokens are made once; Little's law
(in flight {fleet["in_flight_seen"]:.2f} as seen every few seconds, {fleet["in_flight_by_little"]:.2f} by rate times latency). Memory after a tenth {mb(fleet["memory_first"])}, at the end {mb(fleet["memory_last"])}; a straight
line through the second half grows by {fleet["grown_second_half"] / 1e6:,.1f} MB.

`stream`, whose rows are used again, took {_count(stream["requests"])} requests in {_count(stream["rows"])} rows: {mb(stream["memory_first"])} after a tenth, {mb(stream["memory_last"])} at the end,
{stream["grown_second_half"] / 1e6:+,.1f} MB over the second half (percentiles are exact for the first million values, which are kept until then).

{_wrong([fleet, stream])}"""


def write(found: Runs, path: Path) -> None:
    from sim.catalog.files import write_whole

    write_whole(path, page(found))
