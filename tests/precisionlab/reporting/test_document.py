"""A page of sections: what is shown is what was given, and it can be made again from what was saved."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from precisionlab.reporting import Figure, Table, Text, rebuild, write_index, write_page

FRAME = pd.DataFrame({
    "layers": [1, 2, 4] * 2,
    "model": ["softmax"] * 3 + ["linear|attention"] * 3,
    "mse": [1e-2, 0.1 + 0.2, 3e-3, 1 / 3, 0.0, np.nan],
    "worst": [1e-1, 0.5, 3e-2, 1.0, 1e-300, np.inf],
    "reached": [False, False, False, False, True, True],
})
FIGURE = Figure(
    name="depth",
    frame=FRAME,
    x="layers",
    y="mse",
    low="mse",
    high="worst",
    series="model",
    title="Depth <b>pays</b>",
    lines={"u² of float64": 2.0**-106},
)
TABLE = Table(name="numbers", frame=FRAME, title="The numbers", formats={"mse": ".1e"})
TEXT = Text(body="First.\n\n    code <here>\n\nLast.", title="Why")
CASES = {
    "lines": {},
    "panels": {"panel": "reached"},
    "points": {"joined": False, "series": "", "low": "", "high": ""},
    "named places": {"x": "model"},
    "logarithmic": {"x_log": True},
    "linear": {"y_log": False},
}


def given(**changes):
    return {
        "title": "Depth pays until four layers",
        "sections": [FIGURE, TABLE, TEXT],
        "spread": "one seed",
        "config": {"layers": [1, 2, 4], "nested": {"n": 5}},
        "environment": {"python": "3.11"},
        "command": "python -m depth --out 'reports/depth'",
        "generated_at": datetime(2026, 5, 4, 12, 30, tzinfo=UTC),
        **changes,
    }


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_page_is_made_again_to_the_byte_from_what_was_saved(tmp_path):
    page = write_page(tmp_path / "depth", **given())
    first = contents(page.path)
    assert set(first) >= {"report.html", "README.md", "depth.png", "depth.csv", "numbers.csv", "environment.json"}
    for name in ("report.html", "README.md", "depth.png"):
        (page.path / name).unlink()
    again = rebuild(page.path)
    assert contents(page.path) == first
    for before, after in zip(given()["sections"][:2], again.sections, strict=False):
        pd.testing.assert_frame_equal(before.frame, after.frame, check_exact=True)


def test_a_page_says_what_made_it(tmp_path):
    page = write_page(tmp_path, **given())
    html = page.page.read_text()
    for said in ("Depth pays until four layers", "one seed", "nested.n", "3.11", "--out &#39;reports/depth&#39;"):
        assert said in html
    assert "<b>pays" not in html
    assert "code &lt;here&gt;" in html
    assert "://" not in html.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "<script src" not in html
    text = (tmp_path / "README.md").read_text()
    assert "| 4 | softmax | 3.0e-03 | 0.03 | False |" in text
    assert "linear\\|attention" in text
    assert "Depth &lt;b&gt;" in page._repr_html_()


@pytest.mark.parametrize("case", CASES)
def test_every_kind_of_figure_is_drawn(tmp_path, case):
    settings = {key: getattr(FIGURE, key) for key in FIGURE.__dataclass_fields__}
    page = write_page(tmp_path, **given(sections=[Figure(**{**settings, **CASES[case]})]))
    assert (tmp_path / "depth.png").read_bytes().startswith(b"\x89PNG")
    assert len(page.sections) == 1


WRONG = {
    "title": ({"title": " "}, "title must not be blank"),
    "spread": ({"spread": ""}, "spread must not be blank"),
    "no section": ({"sections": []}, "got none"),
    "one name twice": ({"sections": [TABLE, TABLE]}, "bear one name"),
    "no zone": ({"generated_at": datetime(2026, 5, 4)}, "time zone"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_page_that_says_too_little_is_refused(tmp_path, case):
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        write_page(tmp_path, **given(**changes))
    assert not list(tmp_path.iterdir())


MALFORMED = {
    "a name that is a path": (lambda: Table(name="../x", frame=FRAME, title=""), "name: got"),
    "no rows": (lambda: Table(name="x", frame=FRAME[:0], title=""), "no row"),
    "a format of no column": (lambda: Table(name="x", frame=FRAME, title="", formats={"y": ".1e"}), "no column 'y'"),
    "no such column": (lambda: Figure(name="x", frame=FRAME, x="layers", y="y", title=""), "no column 'y'"),
    "text for y": (lambda: Figure(name="x", frame=FRAME, x="layers", y="model", title=""), "must hold numbers"),
    "half a band": (lambda: Figure(name="x", frame=FRAME, x="layers", y="mse", low="mse", title=""), "band together"),
    "negative": (lambda: Figure(name="x", frame=-FRAME[["layers"]], x="layers", y="layers", title=""), "logarithmic"),
    "log of zero": (
        lambda: Figure(name="x", frame=FRAME, x="mse", y="mse", title="", x_log=True),
        "logarithmic",
    ),
    "blank": (lambda: Text(body=" \n"), "blank"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_section_is_refused(case):
    make, message = MALFORMED[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_the_index_lists_pages_at_any_depth(tmp_path):
    write_page(tmp_path / "a" / "deep", **given())
    write_page(tmp_path / "b", **given(sections=[TEXT], title="Words alone"))
    html = write_index(tmp_path).read_text()
    assert 'src="a/deep/depth.png"' in html
    assert html.count("<img") == 1
    assert "Words alone" in html
