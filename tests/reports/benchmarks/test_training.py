import json
from typing import Any

import pytest

from ..load import load

training = load("benchmarks", "training.py")


def made_up(width: int, residuals: float, dtype: str) -> dict[str, Any]:
    """A step whose time grows as P^2.5 and whose memory as P^2."""
    parameters = training.experiment(width, dtype).parameters
    return {
        "dtype": dtype,
        "residuals_per_parameter": residuals,
        "parameters": parameters,
        "residuals": round(residuals * parameters),
        "solver": "dense",
        "seconds": (2.0 if dtype == "float32" else 1.0) * parameters**2.5 * 1e-9,
        "bytes_before": 2**28,
        "bytes_peak": 2**28 + parameters**2,
    }


def test_the_growth_is_that_of_the_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "measured_apart", made_up)
    path = tmp_path / "new" / "training.json"
    table, growth = training.run(path, largest=30_000)
    kept = json.loads(path.read_text())
    assert table.equals(training.table(kept))
    assert growth.equals(training.growth(kept))
    assert path.with_suffix(".png").stat().st_size > 0
    assert growth["time_exponent"].to_numpy() == pytest.approx(2.5)
    assert growth["memory_exponent"].to_numpy() == pytest.approx(2.0)
    assert set(growth["sizes"]) == {3}
    assert table.groupby("dtype")["times_float64"].mean().to_dict() == pytest.approx({"float64": 1, "float32": 2})
    assert table["parameters"].max() < 30_000


def test_sizes_are_those_that_are_named():
    found = [training.experiment(width, "float64").parameters for width in training.WIDTHS]
    assert found == pytest.approx([2000, 8000, 26_000, 50_000], rel=0.25)


def test_a_step_is_measured_in_a_process_of_its_own(monkeypatch):
    row = training.measured_apart(width=4, residuals=0.5, dtype="float32", solver="blocked")
    assert row["solver"] == "blocked"
    assert row["seconds"] > 0
    assert 0 < row["bytes_before"] <= row["bytes_peak"] < 2 * training.GIB
    with pytest.raises(RuntimeError, match="failed with code 1"):
        training.measured_apart(width=3, residuals=0.5, dtype="float64")


def test_a_size_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="smallest model has more"):
        training.run(largest=5)
