"""What one fitted number is."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple


class Parameter(NamedTuple):
    """One named number of a calibration: `default` holds where no calibration says otherwise.

    bounds: least and largest that a fit may give it. scale: a fit moves it on log(value + scale): by shares where it is large,
    by amounts where it is small or 0; 0 = by shares alone. width: how far, in logs, a value may stand from where its fit starts,
    narrow for what other sources tell better than a table of times. scope: `family` = a fact of the software, one value for all
    chips of a family; `chip` = may differ by generation and chip; `choice` = a choice of the kernel or a rule, never fitted.
    """

    name: str
    default: float
    meaning: str
    bounds: tuple[float, float] | None = None
    scale: float = 0.0
    width: float = math.inf
    scope: Literal["family", "chip", "choice"] = "family"
