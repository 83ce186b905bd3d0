"""Writes claims.md and images/claim-*.svg beside this file from every claim of the catalogue, computed now: `make claims`."""

from __future__ import annotations

import sys
from pathlib import Path

from accuracy_plots import BLUE, STYLE

from sim.app.claims import judge_all, verdict
from sim.catalog.files import write_whole
from sim.catalog.library import default_library
from sim.studies.claims import Judged, Line, basis_of, shown

HERE = Path(__file__).parent
LOG_FROM = 30.0  # largest over smallest bar from which an axis is logarithmic
HEAD = """# Public claims, derived again

What was said in public about models, their cost and their hardware, each computed by this version: `make claims` writes this
page, `gambrel claims NAME` shows one with its arithmetic, `--json` gives it as data. A claim is a file in `workloads/claims`
(`gambrel schema claim`): statement, source, scenarios, steps, and the figure that is asked. No result stands in a file: a price or
a chip that changes moves the figures.

How a verdict follows: it *holds* if the figure lies in what is claimed: a round figure within a
quarter of it, a bound as it stands, by one rule for all; it *holds under* the first
condition whose own figure does; else it *does not hold*. What no computation can say is *outside the model*. Ranges come from the
intervals of the figures, combined at their worst; "not with the whole interval" says that the range reaches over the bound. The basis
*given* means that nothing in a figure is predicted: facts from outside, and what follows from them by arithmetic alone.
"""


def page(judged: list[Judged]) -> str:
    """The whole page: an overview, then each claim with its arithmetic."""
    rows = [f"| [{j.claim.id}](#{j.claim.id}) | {j.claim.statement} | {verdict(j)} | {j.why} |" for j in judged]
    head = "\n".join([HEAD, "| claim | said | verdict | because |", "|---|---|---|---|", *rows])
    return head + "\n" + "\n".join(section(each) for each in judged)


def section(judged: Judged) -> str:
    """One claim."""
    parts = [
        f"\n## {judged.claim.id}\n",
        f"{judged.claim.statement}\n\nSource: {judged.claim.source}.\n",
        f"**{verdict(judged)}**: {judged.why}\n",
    ]
    if judged.note:
        parts.append(f"{judged.note}\n")
    if judged.steps:
        steps = [f"| {s.name} | {shown(s.figure)} | {basis_of(s.figure)} | {escaped(s.how)} |" for s in judged.steps]
        parts.append("\n".join(["| step | value | basis | from |", "|---|---|---|---|", *steps, ""]))
    for name, lines in judged.tables.items():
        parts.append(table(name, lines))
        if judged.claim.tables[name].plot is not None:
            parts.append(f"![{judged.claim.id}: {name}](images/{image(judged, name)})\n")
    return "\n".join(parts)


def escaped(text: str) -> str:
    """Text inside a cell."""
    return text.replace("|", "\\|").replace("*", "\\*")


def table(title: str, lines: tuple[Line, ...]) -> str:
    """A table of a claim."""
    names = list(dict.fromkeys(name for line in lines for name in line.figures))
    rows = []
    for line in lines:
        cells = [shown(line.figures[name]) if name in line.figures else "" for name in names]
        rows.append(f"| {line.label} | {' | '.join(cells)} | {escaped(line.reason)} |")
    head = f"| {title.replace('_', ' ')} | {' | '.join(name.replace('_', ' ') for name in names)} | no answer because |"
    return "\n".join([head, "|---" * (len(names) + 2) + "|", *rows, ""])


def image(judged: Judged, name: str) -> str:
    return f"claim-{judged.claim.id}-{name.replace('_', '-')}.svg"


def plot(judged: Judged, name: str, place: Path) -> None:
    """Bars of the column that the table names, with their ranges."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    column = judged.claim.tables[name].plot or ""
    known = [(line.label, line.figures[column]) for line in judged.tables[name] if column in line.figures]
    known = [(label, figure) for label, figure in known if figure.value is not None]
    values = [figure.value or 0.0 for _, figure in known]
    below = [value - (value if f.low is None else f.low) for value, (_, f) in zip(values, known, strict=True)]
    above = [(value if f.high is None else f.high) - value for value, (_, f) in zip(values, known, strict=True)]
    with pyplot.rc_context(STYLE):
        drawing, axes = pyplot.subplots(figsize=(6.4, 0.6 + 0.26 * len(known)), layout="constrained")
        axes.barh([label for label, _ in known], values, xerr=[below, above], color=BLUE, height=0.6, ecolor="#595959")
        if max(values) > LOG_FROM * min(values) > 0.0:
            axes.set_xscale("log")
        axes.invert_yaxis()
        axes.set_xlabel(
            f"{column.replace('_', ' ')} [{known[0][1].unit or judged.claim.tables[name].columns[column].unit}]"
        )
        axes.grid(axis="y", visible=False)
        drawing.savefig(place, metadata={"Date": None})
        pyplot.close(drawing)


def main() -> None:
    judged = judge_all(None, default_library(), lambda share, name: print(f"{share:4.0%} {name}", file=sys.stderr))
    write_whole(HERE / "claims.md", page(judged))
    for each in judged:
        for name, declared in each.claim.tables.items():
            if declared.plot is not None:
                plot(each, name, HERE / "images" / image(each, name))


if __name__ == "__main__":
    main()
