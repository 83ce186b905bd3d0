"""Writes parameters.md beside this file from the declared parameters and the families' calibrations: `make parameters`."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from sim.catalog.calibrations import Calibration
from sim.catalog.files import write_whole
from sim.catalog.library import package_root
from sim.catalog.records import read
from sim.cost.parameters import TABLES, Parameter

HEAD = """# Named parameters

What datasheets do not say of a chip under a software stack, kernel by kernel. Written by `make parameters` from
`sim/cost/parameters/` and the calibrations of families; how they are fitted: [calibrate a chip](how-to/calibrate.md), what
they mean in a formula: [the cost core](cost.md).

*Differs by*: `family` = one value for all chips of a family; `chip` = a generation and a chip may have their own (at most six
of a group of kernels); `choice` = a rule or a choice of the kernel, never fitted. Below each table stand the values of the
families, a column for each stack and format multiplied in (and stored); an empty cell is that of the wider format, or the default.
"""
UNITS = (
    ("bytes_per_clock", "bytes / clock"),
    ("_per_clock", "1 / clock"),
    ("_clocks", "clocks"),
    ("_us", "us"),
    ("_hops", "latencies of a link"),
    ("_bytes", "bytes"),
    ("_hz", "Hz"),
    ("_w", "W"),
    ("_passes", "passes"),
)


def unit(parameter: Parameter) -> str:
    """Unit by the end of the name; numbers and shares have none."""
    return next((text for end, text in UNITS if parameter.name.endswith(end)), "")


def families() -> list[Calibration]:
    """The calibrations of families, by id."""
    folder = package_root() / "devices"
    known = {path.stem for path in (folder / "families").glob("*.yaml")}
    found = [read(Calibration, path) for path in sorted((folder / "calibrations").glob("*.yaml"))]
    return [calibration for calibration in found if calibration.subject in known]


def declared(table: tuple[Parameter, ...]) -> list[str]:
    """The parameters as rows of a table."""
    lines = ["| parameter | unit | default | differs by | meaning |", "|---|---|---|---|---|"]
    return lines + [f"| `{p.name}` | {unit(p)} | {p.default:g} | {p.scope} | {p.meaning} |" for p in table]


def values(kind: str, table: tuple[Parameter, ...], calibrations: list[Calibration]) -> list[str]:
    """The values of one kind by a family's calibrations: a column for each stack and format that gives any."""
    columns = [
        (f"{calibration.stack} {key.removeprefix(kind).removeprefix('.')}".strip(), given)
        for calibration in calibrations
        for key, given in calibration.parameters.items()
        if key.partition(".")[0] == kind and given
    ]
    if not columns:
        return []
    head = f"{kind}, {calibrations[0].subject}"
    lines = [f"| {head} | {' | '.join(name for name, _ in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for parameter in table:
        cells = [f"{given[parameter.name]:.4g}" if parameter.name in given else "" for _, given in columns]
        if any(cells):
            lines.append(f"| `{parameter.name}` | {' | '.join(cells)} |")
    return ["", *lines]


def page() -> str:
    """The whole page. Kinds with the same parameters share a section."""
    calibrations, done, lines = families(), [], [HEAD]
    subjects = sorted({calibration.subject for calibration in calibrations})
    for table in TABLES.values():
        if table in done:
            continue
        done.append(table)
        kinds = [kind for kind, other in TABLES.items() if other == table]
        lines += [f"## {', '.join(kinds)}\n", *declared(table)]
        for kind, subject in product(kinds, subjects):
            lines += values(kind, table, [each for each in calibrations if each.subject == subject])
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    write_whole(Path(__file__).parent / "parameters.md", page())
