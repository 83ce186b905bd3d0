"""The palette can be read by everybody: contrast to its page, and differences that colour blindness leaves."""

import itertools
import re

import numpy as np
import pytest

from sim.report import theme

# Machado, Oliveira and Fernandes (2009), severity 1
SEEN_BY = {
    "all": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}  # fmt: skip
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
LEAST_DIFFERENCE = 15.0  # CIE76; 2.3 is just noticeable


def linear(ink: str):
    values = np.array([int(ink[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2."""
    low, high = sorted(float(TO_XYZ[1] @ linear(ink)) for ink in (one, other))
    return (high + 0.05) / (low + 0.05)


def lab(rgb):
    xyz = TO_XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("side", ["light", "dark"])
@pytest.mark.parametrize("seen_by", SEEN_BY)
def test_every_two_colours_differ_for_everybody(side, seen_by):
    seen = {name: lab(SEEN_BY[seen_by] @ linear(getattr(ink, side))) for name, ink in theme.INKS.items()}
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) >= LEAST_DIFFERENCE, (one, other)


@pytest.mark.parametrize("side", ["light", "dark"])
def test_charts_and_words_stand_out_from_the_page(side):
    page, panel = (getattr(theme.PAGE[name], side) for name in ("page", "panel"))
    assert all(contrast(getattr(ink, side), page) >= 3.0 for ink in theme.INKS.values())
    words = [getattr(theme.PAGE[name], side) for name in ("text", "quiet", "link", "good", "warn", "bad")]
    assert all(contrast(ink, ground) >= 4.5 for ink in words for ground in (page, panel))


def test_a_dark_chart_has_the_other_column_of_the_palette():
    chart = {"data": [{"marker": {"color": theme.BLUE}, "x": [1.0]}], "layout": {}}
    assert theme.dark(chart)["data"][0]["marker"]["color"] == theme.INKS["blue"].dark
    assert theme.dark(theme.dark(chart)) == theme.dark(chart)


def test_the_sheet_defines_every_variable_that_it_uses():
    sheet = theme.css()
    assert set(re.findall(r"var\(--([a-z-]+)\)", sheet)) <= set(re.findall(r"--([a-z-]+):", sheet))


def test_each_size_is_about_a_fifth_larger_than_the_one_before():
    sizes = list(theme.SIZES.values())
    assert all(1.1 <= large / small <= 1.25 for small, large in itertools.pairwise(sizes))
