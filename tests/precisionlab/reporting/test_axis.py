import itertools

import numpy as np
import pytest

from precisionlab.reporting.axis import error_axis, spread
from precisionlab.reporting.strokes import strokes


def test_every_curve_and_u2_lie_on_the_axis(made):
    curves = made.typical()
    axis = error_axis(curves)
    drawn = axis.levels(curves.frame[["mse_median", "mse_q25", "mse_q75"]].to_numpy())
    assert ((axis.low < drawn) & (drawn < axis.high)).all()
    assert axis.low < 2 * np.log10(2.0**-53)


def test_zero_has_a_line_of_its_own_below_all_else(made):
    axis = error_axis(made.curves(made.direct("reference", floor=0.0), made.direct("qr", floor=1e-40)))
    assert axis.zero is not None
    zero, least = axis.levels([0.0, 0.3e-40])
    assert axis.low < zero == axis.zero < least - 1
    assert min(axis.ticks()) > zero


def test_without_a_zero_there_is_no_line_for_it(made):
    assert error_axis(made.curves(made.direct("qr"))).zero is None


def test_all_zero_is_drawn_too(made):
    axis = error_axis(made.curves(made.direct("reference", floor=0.0)))
    assert axis.low < axis.levels([0.0])[0] < axis.high


def test_a_diverging_solver_does_not_flatten_the_others(made):
    axis = error_axis(made.diverging())
    assert axis.high <= 4
    assert axis.levels([np.inf])[0] > axis.high
    assert np.isnan(axis.levels([np.nan])[0])


@pytest.mark.parametrize("floor", [1e-31, 1e-150, 1e-300, 1.0])
def test_ticks_are_decades_and_few(made, floor):
    axis = error_axis(made.curves(made.iterated("a", floor=floor, rate=0.01)))
    ticks = axis.ticks()
    assert 3 <= len(ticks) <= 10
    assert len({b - a for a, b in itertools.pairwise(ticks)}) == 1
    assert all(axis.low <= tick <= axis.high for tick in ticks)


@pytest.mark.parametrize("count", [0, 1, 2, 12, 40])
def test_labels_never_overlap_and_stay_within(count):
    wanted = np.random.default_rng(count).normal(0.5, 0.05, count).tolist()
    gap = min(0.05, 1 / max(count - 1, 1))
    placed = spread(wanted, gap=0.05, low=0.0, high=1.0)
    slack = 1e-12
    assert all(-slack <= p <= 1 + slack for p in placed)
    assert all(b - a >= gap - slack for a, b in itertools.pairwise(sorted(placed)))
    assert np.argsort(placed, kind="stable").tolist() == np.argsort(wanted, kind="stable").tolist()


def test_labels_that_have_room_are_not_moved():
    assert spread([0.9, 0.1, 0.5], gap=0.2, low=0.0, high=1.0) == pytest.approx([0.9, 0.1, 0.5])


def test_two_labels_at_one_place_part_evenly():
    assert spread([0.5, 0.5], gap=0.2, low=0.0, high=1.0) == pytest.approx([0.4, 0.6])


def test_twenty_solvers_differ_even_in_grey():
    looks = strokes([str(i) for i in range(20)])
    assert len({(look.dash, look.marker) for look in looks.values()}) == 20


def test_a_solver_looks_the_same_whoever_else_follows():
    assert strokes(["a", "b"])["b"] == strokes(["a", "b", "c"])["b"]
