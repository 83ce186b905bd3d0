"""What the joint fit finds for a group, how wide its priors are, and what of it is kept: all by rows that a fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..cost import SIZES, size_classes
from ..cost.parameters import TABLES, Parameter
from ..lowering.kernels import Kernels
from ..lowering.kinds import KINDS
from .groups import Group
from .joint import Errors, Joint, Priors, errors
from .tables import FloatArray

LEAST_ROWS = 24
CANDIDATES = (Priors(1.5, 0.0, 0.0), Priors(1.5, 0.3, 0.0), Priors(1.5, 0.3, 0.1), Priors(1.5, 0.6, 0.3))
OWN_WIDTHS = (0.05, 0.1, 0.3, 1.0)  # of a chip's own values around its generation's
EARNED = 0.99  # a weaker prior must lower the error that far
SEEN = 1.1  # values that have seen the rows that are left out of a fit: a tenth of its error is theirs
FAR = 8.0  # a value so many times its default (or its share) is no start
STEPS = 40
LEAST_OF_SIZE = 20
_FLAGS = ("causal", "limit", "skew", "matrices", "pairs", "share", "stride")  # dims that are no sizes


class ChipFit(NamedTuple):
    """What concerns one chip. values: what differs from its generation; old, fitted, left_out: by the calibrations until now,
    on all rows by the fit, on random fifths that a fit did not see; residuals, ranges: as a calibration file holds them."""

    chip: str
    rows: int
    values: dict[str, float]
    old: Errors
    fitted: Errors
    left_out: Errors
    residuals: dict[str, float]
    ranges: dict[str, tuple[float, float]]


class GroupFit(NamedTuple):
    """What a fit of a group found. family, generations: values by name (those of a generation: what differs);
    left_out: by split; local: names that may differ by generation and chip;
    residuals: of the family's file and of generations'; open: parameters that the rows do not tell; refused: why nothing of it
    is written, or ""."""

    key: str
    stack: str
    rows: int
    family: dict[str, float]
    generations: dict[str, dict[str, float]]
    chips: tuple[ChipFit, ...]
    old: Errors
    fitted: Errors
    left_out: dict[str, Errors]
    local: tuple[str, ...]
    priors: Priors
    residuals: dict[str, dict[str, float]]
    open: tuple[str, ...] = ()
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self._asdict(),
            "chips": [
                {**chip._asdict(), **{name: getattr(chip, name)._asdict() for name in ("old", "fitted", "left_out")}}
                for chip in self.chips
            ],
            "old": self.old._asdict(),
            "fitted": self.fitted._asdict(),
            "left_out": {split: errors._asdict() for split, errors in self.left_out.items()},
            "priors": self.priors._asdict(),
        }


class _Tried(NamedTuple):
    """A fit of all rows under some priors, and the fits without parts of them. unseen: residuals by split and member."""

    joint: Joint
    at: FloatArray
    refits: dict[str, list[FloatArray]]
    unseen: dict[str, list[FloatArray]]

    def score(self) -> float:
        """Mean |log(measured / predicted)| of what was left out, over the splits."""
        return float(np.mean([np.mean(np.abs(np.concatenate(parts))) for parts in self.unseen.values()]))


def good_start(start: Mapping[str, float], table: Sequence[Parameter], fresh: bool) -> dict[str, float]:
    """The values now, and the default instead of one at a bound or far from it (fresh: instead of all). Choices stay, and so
    does what is of no kernel by default: from 0 a fit that moves by shares finds nothing."""
    out = dict(start)
    for parameter in table:
        value, unit = start[parameter.name], parameter.scale or 1e-9
        if parameter.scope == "choice" or not parameter.default + parameter.scale:
            continue
        far = max((value + unit) / (parameter.default + unit), (parameter.default + unit) / (value + unit)) > FAR
        low, high = parameter.bounds or (-1.0, np.inf)
        stuck = value <= low + 0.02 * min(high - low, 1.0) or value >= high - 0.02 * min(high - low, 1.0)
        out[parameter.name] = parameter.default if fresh or far or stuck else value
    return out


def fit_family(group: Group, fresh: bool = False) -> GroupFit:
    """Fit a group over all its chips. fresh: start from the declared defaults.

    Raises InputError if SciPy is not installed.
    """
    table = TABLES[group.kind]
    start = good_start(group.start, table, fresh)
    tried = _try(Joint(group.members, priors=CANDIDATES[0], start=start), None)
    for priors in CANDIDATES[1:] if tried.joint.local.size else ():
        found = _try(Joint(group.members, priors=priors, start=start), tried)
        if found.score() < EARNED * tried.score():
            tried = found
    return _kept(group, tried)


def _try(joint: Joint, before: _Tried | None) -> _Tried:
    at = joint.fit(steps=STEPS, start=None if before is None else before.at)
    splits = joint.splits()
    chosen = {name: split for name, split in splits.items() if name != "generation"}
    refits = {name: joint.refits(split, at) for name, split in chosen.items()}
    return _Tried(joint, at, refits, {name: joint.unseen(chosen[name], refits[name]) for name in chosen})


def _kept(group: Group, tried: _Tried) -> GroupFit:
    """What is written of a fit: a chip's own values only where they lower the error of its rows that were left out."""
    joint, at = tried.joint, tried.at.copy()
    random = joint.splits()["random"]
    unseen = list(tried.unseen["random"])
    for index in range(len(joint.members)):
        plain = joint.unseen(random, [_without(joint, each, index) for each in tried.refits["random"]])[index]
        if not np.mean(np.abs(unseen[index])) < EARNED * np.mean(np.abs(plain)):
            unseen[index] = plain
            at[joint.chip_of(index)] = 0.0
    splits = {**tried.unseen, "random": unseen}
    if "generation" in joint.splits():
        splits["generation"] = joint.left_out(joint.splits()["generation"], at)
    seen = joint.residuals(at)  # from here on the machines of `joint` hold the fit
    old = [np.log(m.measured / now) for m, now in zip(group.members, group.current, strict=True)]
    result = joint.result(at)
    differs = {m.generation: _differs(result.generations[m.generation], result.family) for m in joint.members}
    chips = tuple(
        ChipFit(
            m.chip,
            m.measured.size,
            _differs(result.chips[m.chip], result.generations[m.generation]),
            errors(old[i]),
            errors(seen[i]),
            errors(unseen[i]),
            quantiles(joint, [i], unseen),
            ranges(m.kernels),
        )
        for i, m in enumerate(joint.members)
    )
    whole = errors(np.concatenate(old))
    return GroupFit(
        group.key,
        group.stack,
        group.rows,
        result.family,
        differs,
        chips,
        whole,
        errors(np.concatenate(seen)),
        {name: errors(np.concatenate(parts)) for name, parts in splits.items()},
        tuple(joint.names[i] for i in joint.local),
        joint.priors,
        _shared_quantiles(joint, splits),
        joint.open(at),
        _refusal(group, errors(np.concatenate(unseen)), whole),
    )


def _refusal(group: Group, left_out: Errors, old: Errors) -> str:
    """Why nothing is written. Chips that differ in more than they may are no measure: they learnt by heart."""
    if group.rows < LEAST_ROWS:
        return f"{group.rows} rows, fewer than {LEAST_ROWS}"
    if group.lawful and left_out.mean_log > SEEN * old.mean_log:
        return "left-out error more than that of the values now"
    return ""


def _without(joint: Joint, at: FloatArray, index: int) -> FloatArray:
    """The vector without the deviations of one chip."""
    out = at.copy()
    out[joint.chip_of(index)] = 0.0
    return out


def _differs(values: Mapping[str, float], under: Mapping[str, float]) -> dict[str, float]:
    """Values that are not those under them, to half a per cent."""
    return {name: value for name, value in values.items() if abs(value - under[name]) > 0.005 * abs(under[name])}


def _shared_quantiles(joint: Joint, splits: Mapping[str, list[FloatArray]]) -> dict[str, dict[str, float]]:
    """Of chips without rows: under "" those of a generation without rows, by name those of a generation with several chips."""
    everyone = list(range(len(joint.members)))
    far = next(name for name in ("generation", "device", "random") if name in splits)
    out = {"": quantiles(joint, everyone, splits[far])}
    for generation in joint.generations:
        own = [i for i in everyone if joint.members[i].generation == generation]
        if len(own) > 1:
            out[generation] = quantiles(joint, own, splits["device"])
    return out


def quantiles(joint: Joint, members: Sequence[int], unseen: Sequence[FloatArray]) -> dict[str, float]:
    """Conformal quantiles of log(measured / predicted) of unseen rows of some members, whose machines hold the fit: of all, and
    of each size that has enough of them."""
    found, sizes = [], []
    for i in members:
        member = joint.members[i]
        found.append(unseen[i])
        sizes.append(size_classes(member.kernels, member.machine, member.measured * np.exp(-unseen[i])))
    values, classes = np.concatenate(found), np.concatenate(sizes)
    out = {"p10": -_covering(-values), "p90": _covering(values)}
    for index, name in enumerate(SIZES):
        chosen = values[classes == index]
        if chosen.size >= LEAST_OF_SIZE:
            out |= {f"{name}_p10": -_covering(-chosen), f"{name}_p90": _covering(chosen)}
    return out


def _covering(values: FloatArray) -> float:
    """The rank that covers a further one nine times of ten."""
    return float(np.quantile(values, min(0.9 * (1.0 + 1.0 / values.size), 1.0), method="higher"))


def ranges(kernels: Kernels) -> dict[str, tuple[float, float]]:
    """Smallest and largest of each dim that is a size."""
    dims = kernels.dims
    return {
        name: (float(dims[:, i].min()), float(dims[:, i].max()))
        for i, name in enumerate(KINDS[int(kernels.kind[0])].dims)
        if name not in _FLAGS and dims[:, i].max() > dims[:, i].min()
    }
