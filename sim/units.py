"""Units: a number from outside carries its unit at the end of its key; inside, everything is SI.

`bandwidth_gb_per_s: 3350` in a file is `bandwidth_bytes_per_s = 3.35e12` inside. 1 GB = 1e9 bytes, 1 GiB = 2**30.
"""

from __future__ import annotations

_DECIMAL = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "p": 1e15}
_BINARY = {"k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40, "p": 2.0**50}

# suffix of a key in a file -> (SI suffix of the field it fills, factor)
UNITS: dict[str, tuple[str, float]] = {
    "s": ("s", 1.0),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "ns": ("s", 1e-9),
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "days": ("s", 86400.0),
    "hz": ("hz", 1.0),
    "khz": ("hz", 1e3),
    "mhz": ("hz", 1e6),
    "ghz": ("hz", 1e9),
    "w": ("w", 1.0),
    "kw": ("w", 1e3),
    "mw": ("w", 1e6),
    "usd": ("usd", 1.0),
    "bytes": ("bytes", 1.0),
    "bytes_per_s": ("bytes_per_s", 1.0),
    "flop_per_s": ("flops_per_s", 1.0),
    "flops_per_s": ("flops_per_s", 1.0),
    "exp_per_s": ("exp_per_s", 1.0),
    "requests_per_s": ("requests_per_s", 1.0),
    "percent": ("fraction", 1e-2),
    "fraction": ("fraction", 1.0),
}
for _letter, _factor in _DECIMAL.items():
    UNITS[f"{_letter}b"] = ("bytes", _factor)
    UNITS[f"{_letter}b_per_s"] = ("bytes_per_s", _factor)
    UNITS[f"{_letter}bit_per_s"] = ("bytes_per_s", _factor / 8.0)
    UNITS[f"{_letter}flop_per_s"] = ("flops_per_s", _factor)
    UNITS[f"{_letter}exp_per_s"] = ("exp_per_s", _factor)
for _letter, _factor in _BINARY.items():
    UNITS[f"{_letter}ib"] = ("bytes", _factor)
    UNITS[f"{_letter}ib_per_s"] = ("bytes_per_s", _factor)


def split_unit(key: str) -> tuple[str, str, float] | None:
    """Split `bandwidth_gb_per_s` into ("bandwidth", "bytes_per_s", 1e9); None if the key ends in no known unit."""
    parts = key.split("_")
    for start in range(1, len(parts)):
        unit = UNITS.get("_".join(parts[start:]))
        if unit is not None:
            return "_".join(parts[:start]), unit[0], unit[1]
    return None


def units_of(dimension: str) -> list[str]:
    """Every file unit of an SI suffix, for the remedy of an error: units_of("w") -> ["w", "kw", "mw"]."""
    return [name for name, (si, _) in UNITS.items() if si == dimension]


def text(value: float, unit: str) -> str:
    """A number as people read it: text(3.2e9, "bytes") -> "3.20 GB"."""
    if unit == "s":
        return _seconds_text(value)
    scaled = {
        "bytes": "B",
        "bytes_per_s": "B/s",
        "flops": "FLOP",
        "flops_per_s": "FLOP/s",
        "w": "W",
        "j": "J",
        "hz": "Hz",
    }
    if unit == "usd":
        return f"${value:,.2f}" if abs(value) < 1e5 else f"${value / 1e6:,.3f}M"
    if unit not in scaled:
        return f"{_grouped(value)} {unit}".rstrip()
    for letter, factor in (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:,.3g} {letter}{scaled[unit]}"
    return f"{value:,.3g} {scaled[unit]}"


def _grouped(value: float) -> str:
    """Four digits that count: 0.2714, 1,073, 68,720, 30.84 million."""
    for word, factor in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if abs(value) >= factor:
            return f"{value / factor:,.4g} {word}"
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"


def _seconds_text(value: float) -> str:
    if abs(value) >= 2 * 86400:
        return f"{value / 86400:,.1f} days"
    if abs(value) >= 2 * 3600:
        return f"{value / 3600:,.1f} h"
    if abs(value) >= 1 or value == 0:
        return f"{value:,.3g} s" if abs(value) < 1000 else f"{value:,.0f} s"
    for unit, factor in (("ms", 1e-3), ("us", 1e-6)):
        if abs(value) >= factor:
            return f"{value / factor:,.3g} {unit}"
    return f"{value / 1e-9:,.3g} ns"
