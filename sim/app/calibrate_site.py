"""`calibrate` on serving benchmarks: prints what four factors of a site gain, on rows seen and left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .output import Call, Progress, emit

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..evidence.fit_files import Made
    from ..evidence.site_files import Sited


def site(call: Call, measured: list[Path], chip: str | None, stack: str | None, made: Made) -> None:
    """Fit, write and print."""
    from ..evidence.site_files import calibrate_site

    if chip is None:
        raise InputError("calibrate: serving runs tell of one site and its chip. Give --chip ID.")
    with Progress() as progress:
        found = calibrate_site(
            measured,
            chip,
            stack,
            (call.catalog, made),
            progress=lambda done, total: progress(done / max(total, 1), "serving rows priced"),
        )
    emit(call, {"schema": "gambrel.calibrate-site/1", **found.to_dict()}, screen(found))


def screen(found: Sited) -> RenderableType:
    """Of each stack: errors without, with and left out; the factors; what the rows do not tell."""
    from collections import Counter

    from rich.console import Group
    from rich.text import Text

    from ..evidence.site_files import summed
    from ..report.tables import columns

    parts: list[RenderableType] = []
    for fit in found.fits:
        parts.append(Text(f"{found.chip} under {fit.stack}: {fit.rows:,} serving runs", style="bold"))
        grid = columns("median / mean error of", ">now", ">with factors", ">left out")
        old, new, left = (summed(each) for each in (fit.without, fit.fitted, fit.left_out))
        for metric in old:
            cells = [f"{e[metric][0]:.1%} / {e[metric][1]:.1%}" if metric in e else "" for e in (old, new, left)]
            grid.add_row(metric.removesuffix("_ms").upper(), *cells)
        parts.append(grid)
        if fit.told:
            parts.append(Text("factors: " + ", ".join(f"{name} x {fit.factors[name]:.3f}" for name in fit.told)))
        parts += [Text(f"not told: {each}") for each in fit.untold]
        if fit.refused:
            parts.append(Text(f"kept as it was: {fit.refused}"))
        parts += [Text(f"{count:,} skipped: {why}", style="dim") for why, count in Counter(fit.skipped).items()]
    parts += [Text(f"{count:,} rows left aside: {why}", style="dim") for why, count in found.aside.items()]
    written = [Text(f"written: {path}: `serve` and `validate serving` read it from here on") for path in found.paths]
    return Group(*parts, *(written or [Text("nothing is written: predictions stay as they are")]))
