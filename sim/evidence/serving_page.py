"""docs/serving-numbers.md: every number that a run of serving or a published inference result has moved."""

from __future__ import annotations

from ..catalog.library import Library
from .beside_fits import beside_lines
from .inference_fit import value_of
from .inference_numbers import INFERENCE_NUMBERS
from .serving_fit import value_now
from .serving_numbers import BESIDE, MOST, NUMBERS


def numbers_page(library: Library) -> str:
    """The list of all numbers as a page of the documentation, with their values in the catalogue."""
    count = len(NUMBERS) + len(INFERENCE_NUMBERS) + len(BESIDE)
    lines = [
        "# The numbers of serving",
        "",
        f"{count} numbers have seen a run of serving, of at most {MOST}; everything else comes from data sheets and from measured "
        "kernels.",
        "`make serving-fit DATA=folder` fits the first list again to closed-loop runs (robust least squares of the logarithms of time "
        "a token and time to first token, around the priors) and writes it into `devices/stacks`.",
        "`make inference-fit DATA=folder` does the same with the second list, family by family, and the published inference results.",
        "`gambrel validate serving` and `gambrel validate inference` with `--leave-out` score either on runs that a fit has not seen.",
        "A kernel's time among its neighbours is that alone less what the graph hides of its launch, times the factor of its kind.",
        "",
        "| number | prior | fitted | of | as |",
        "|---|---|---|---|---|",
    ]
    for number in NUMBERS:
        where = ", ".join(number.stacks)
        lines.append(
            f"| {number.name} | {number.prior:.4g} | {value_now(number, library):.4g} | {where} | {number.field} |"
        )
    lines += ["", "From published inference results:", "", "| number | prior | fitted | file |", "|---|---|---|---|"]
    for each in INFERENCE_NUMBERS:
        file = f"devices/{each.places[0].file}.yaml"
        lines.append(f"| {each.name} | {each.prior:.4g} | {value_of(each, library):.4g} | {file} |")
    return "\n".join([*lines, *beside_lines(BESIDE)]) + "\n"
