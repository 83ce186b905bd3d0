"""What the joint fit finds for a group, how wide its priors are, and what of it is kept: all by rows that a fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..cost import SIZES, size_classes, sizes
from ..cost.machine import WORK
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
_FLAGS = ("causal", "limit", "skew", "matrices", "topk", "share", "stride")  # dims that are no sizes


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
    old: by the values now; prior: by those around which the priors stand (a chip: its family's and generation's); left_out: by
    split; local: names that may differ by generation and chip;
    residuals: of the family's file and of generations'; open: parameters that the rows do not tell; refused: why nothing of it
    is written, or ""."""

    key: str
    stack: str
    rows: int
    family: dict[str, float]
    generations: dict[str, dict[str, float]]
    chips: tuple[ChipFit, ...]
    old: Errors
    prior: Errors
    fitted: Errors
    left_out: dict[str, Errors]
    local: tuple[str, ...]
    priors: Priors
    residuals: Mapping[str, dict[str, float]] = MappingProxyType({})
    open: tuple[str, ...] = ()
    refused: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self._asdict(),
            "residuals": dict(self.residuals),
            "chips": [
                {**chip._asdict(), **{name: getattr(chip, name)._asdict() for name in ("old", "fitted", "left_out")}}
                for chip in self.chips
            ],
            **{name: getattr(self, name)._asdict() for name in ("old", "prior", "fitted")},
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


def fit_family(group: Group, data: str = "", fresh: bool = False) -> GroupFit:
    """Fit a group over all its chips. data: what was measured, as files say it; fresh: start from the declared defaults.

    Raises InputError if SciPy is not installed.
    """
    start = good_start(group.start, TABLES[group.kind], fresh)
    joint = Joint(group.members, priors=CANDIDATES[0], start=start)
    few = _too_few(group, joint.start.size)
    if few:
        return _unfitted(group, joint, few)
    tried = _best(
        [Joint(group.members, priors=each, start=start) for each in CANDIDATES] if joint.local.size else [joint]
    )
    at, unseen = _plainest(tried)
    splits = {**tried.unseen, "random": unseen}
    parts = tried.joint.splits()
    if "generation" in parts:
        splits["generation"] = tried.joint.left_out(parts["generation"], at)
    found = _answer(group, tried.joint, at, splits)
    return found._replace(
        residuals=_shared_quantiles(tried.joint, splits),
        open=tried.joint.open(at),
        refused=_worse(group, found, data),
    )


def fit_chip(group: Group, data: str = "") -> GroupFit:
    """Fit what may differ by chip (at most six values) of the one chip of a group, around its family's and generation's values.
    Their prior is as wide as chips or generations of the family stand apart, or one of OWN_WIDTHS; what the rows do not tell
    stays the family's.

    Raises InputError if SciPy is not installed.
    """
    everything = Joint(group.members)
    names = [everything.names[index] for index in everything.local]
    widths = sorted({*OWN_WIDTHS, *(width for width in group.widths if width > 0.0)})

    def joints(names: Sequence[str]) -> list[Joint]:
        return [Joint(group.members, names, (), Priors(width, 0.0, 0.0)) for width in widths]

    joint = joints(names)[0]
    few = _too_few(group, joint.start.size)
    if few:
        return _unfitted(group, joint, few)
    tried = _best(joints(names))
    unclear = tried.joint.open(tried.at)
    told = [name for name in tried.joint.names if name not in unclear]
    if not told:
        return _unfitted(group, joint, f"the rows do not tell {', '.join(unclear)}")._replace(open=unclear)
    if unclear:
        tried = _best(joints(told))
    found = _answer(group, tried.joint, tried.at, tried.unseen)
    family = dict(zip(tried.joint.names, _values(tried.joint), strict=True))
    chip = found.chips[0]._replace(values=_differs(found.family, family))
    return found._replace(
        family={},
        chips=(chip,),
        local=tried.joint.names,
        open=unclear,
        refused=_worse_than_family(found, tried) or _worse(group, found, data),
    )


def _best(joints: Sequence[Joint]) -> _Tried:
    """The fit whose rows left out come out best; of priors that do nearly as well the narrower one, which stands earlier."""
    tried = _try(joints[0], None)
    for joint in joints[1:]:
        found = _try(joint, tried)
        if found.score() < EARNED * tried.score():
            tried = found
    return tried


def _try(joint: Joint, before: _Tried | None) -> _Tried:
    at = joint.fit(steps=STEPS, start=None if before is None else before.at)
    chosen = {name: split for name, split in joint.splits().items() if name != "generation"}
    refits = {name: joint.refits(split, at) for name, split in chosen.items()}
    return _Tried(joint, at, refits, {name: joint.unseen(chosen[name], refits[name]) for name in chosen})


def _plainest(tried: _Tried) -> tuple[FloatArray, list[FloatArray]]:
    """The vector with a chip's own deviations only where they lower the error of its rows that were left out, and residuals of
    all rows left out, by member."""
    joint, at, unseen = tried.joint, tried.at.copy(), list(tried.unseen["random"])
    random = joint.splits()["random"]
    for index in range(len(joint.members)):
        plain = joint.unseen(random, [_without(joint, each, index) for each in tried.refits["random"]])[index]
        if not np.mean(np.abs(unseen[index])) < EARNED * np.mean(np.abs(plain)):
            unseen[index] = plain
            at[joint.chip_of(index)] = 0.0
    return at, unseen


def _answer(group: Group, joint: Joint, at: FloatArray, splits: Mapping[str, list[FloatArray]]) -> GroupFit:
    """Values and errors of a fit. From here on the machines of `joint` hold it."""
    prior = joint.residuals(joint.centre())
    seen = joint.residuals(at)
    old = _old(group)
    result = joint.result(at)
    chips = tuple(
        ChipFit(
            m.chip,
            m.measured.size,
            _differs(result.chips[m.chip], result.generations[m.generation]),
            errors(old[i]),
            errors(seen[i]),
            errors(splits["random"][i]),
            quantiles(joint, [i], splits["random"]),
            ranges(m.kernels),
        )
        for i, m in enumerate(joint.members)
    )
    return GroupFit(
        group.key,
        group.stack,
        group.rows,
        result.family,
        {m.generation: _differs(result.generations[m.generation], result.family) for m in joint.members},
        chips,
        errors(np.concatenate(old)),
        errors(np.concatenate(prior)),
        errors(np.concatenate(seen)),
        {name: errors(np.concatenate(parts)) for name, parts in splits.items()},
        tuple(joint.names[i] for i in joint.local),
        joint.priors,
    )


def _old(group: Group) -> list[FloatArray]:
    return [np.log(m.measured / now) for m, now in zip(group.members, group.current, strict=True)]


def _unfitted(group: Group, joint: Joint, why: str) -> GroupFit:
    """The values now, and why they stay."""
    old = errors(np.concatenate(_old(group)))
    prior = errors(np.concatenate(joint.residuals(joint.centre())))
    return GroupFit(group.key, group.stack, group.rows, {}, {}, (), old, prior, old, {}, (), joint.priors, refused=why)


def _too_few(group: Group, free: int) -> str:
    """Why rows cannot tell so many parameters, or ""."""
    if group.rows < LEAST_ROWS:
        return f"{group.rows} rows, fewer than {LEAST_ROWS}"
    if group.shapes <= free:
        return f"{group.rows} rows of {group.shapes} shapes do not tell {free} parameters apart"
    return ""


def _worse(group: Group, found: GroupFit, data: str) -> str:
    """Why the values now stay, or "". Values that were fitted to the same rows have seen what is left out of a fit; chips that
    differ in more than they may are no measure: they learnt by heart."""
    allowed = SEEN if data == group.data else 1.0
    if group.lawful and found.left_out["random"].mean_log > allowed * found.old.mean_log:
        return "left-out error more than that of the values now"
    return ""


def _worse_than_family(found: GroupFit, tried: _Tried) -> str:
    """Why the family's values stay, or "". They may have seen the largest quarter, which the fit has not."""
    if found.left_out["random"].mean_log > found.prior.mean_log:
        return "left-out error more than that of the family's values"
    rows = tried.joint.splits()["shapes"][0]
    largest = errors(np.concatenate(tried.joint.residuals(tried.joint.centre(), rows)))
    if found.left_out["shapes"].mean_log > SEEN * largest.mean_log:
        return "the largest quarter, left out, comes out worse than by the family's values"
    return ""


def _values(joint: Joint) -> list[float]:
    """Values of the family, in the order of the names."""
    return list(joint.result(joint.centre()).family.values())


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
    found, groups = [], []
    for i in members:
        member = joint.members[i]
        found.append(unseen[i])
        groups.append(size_classes(member.kernels, member.machine, member.measured * np.exp(-unseen[i])))
    values, classes = np.concatenate(found), np.concatenate(groups)
    out = {"p10": -_covering(-values), "p90": _covering(values)}
    for index, name in enumerate(SIZES):
        chosen = values[classes == index]
        if chosen.size >= LEAST_OF_SIZE:
            out |= {f"{name}_p10": -_covering(-chosen), f"{name}_p90": _covering(chosen)}
    return out


def _covering(values: FloatArray) -> float:
    """What a further one is below nine times of ten: between the ranks 0.9 (n + 1), the largest where they are few."""
    return float(np.quantile(values, 0.9, method="weibull"))


def ranges(kernels: Kernels) -> dict[str, tuple[float, float]]:
    """Smallest and largest of each dim that is a size, and of the work."""
    found = sizes(kernels)
    low, high = found.min(axis=0), found.max(axis=0)
    names = [*enumerate(KINDS[int(kernels.kind[0])].dims), (WORK, "work")]
    return {name: (float(low[i]), float(high[i])) for i, name in names if name not in _FLAGS and high[i] > low[i]}
