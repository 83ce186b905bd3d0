"""Carbon of a usage: location-based, market-based, and what making the chips emitted."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ..catalog.grid import instant, read_grid
from ..catalog.scenarios import Economy
from ..catalog.targets import Target
from ..result import Figure

HOURS_A_YEAR = 8766.0


def location_intensity(target: Target, economy: Economy, seconds: float) -> Figure:
    """kg CO2 a kWh of the grid where it runs: the mean of an hourly file over the run, the figure given, or the cluster's site."""
    if economy.grid is not None:
        grid = read_grid(Path(economy.grid))
        begin: datetime = grid.start if economy.start is None else instant(economy.start, "economy.start")
        mean = grid.mean(begin, seconds)
        return Figure(
            mean,
            "kg_per_kwh",
            basis="measured",
            note=f"location-based, mean of {grid.name} from {begin:%Y-%m-%dT%H:%M}",
        )
    given = economy.kg_co2_per_kwh if economy.kg_co2_per_kwh is not None else target.cluster.grid_kg_per_kwh
    if given is None:
        return Figure.unknown("kg_per_kwh", "the site's kg_co2_per_kwh is unknown. Give --kg-co2-per-kwh or --grid.")
    return Figure(given, "kg_per_kwh", basis="measured", note="location-based")


def market_intensity(economy: Economy) -> Figure:
    """kg CO2 a kWh of the electricity that was bought, by its contracts."""
    if economy.kg_co2_per_kwh_market is None:
        return Figure.unknown("kg_per_kwh", "what was bought is unknown. Give --kg-co2-per-kwh-market.")
    return Figure(economy.kg_co2_per_kwh_market, "kg_per_kwh", basis="measured", note="market-based")


def embodied_kg(target: Target, economy: Economy, chip_seconds: float) -> Figure:
    """The share of what making the chips emitted that falls on these chip-seconds; unknown unless the vendor published it."""
    made = target.chip.embodied
    if made is None:
        return Figure.unknown("kg", f"embodied.kg_co2 of {target.chip.id} is not published. Add it to the chip's file.")
    share = chip_seconds / 3600.0 / HOURS_A_YEAR / economy.life_years
    note = f"{made.kg_co2:g} kg a chip over {economy.life_years:g} years; hosts and buildings are left out"
    return Figure(made.kg_co2 * share, "kg", basis="measured", note=note)
