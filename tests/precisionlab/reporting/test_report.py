import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from precisionlab.reporting import Report, read_results, rebuild_all, write_report
from precisionlab.reporting.page import POINTS_PER_CURVE, chart_data

FILES = {"report.html", "mse_vs_iteration.png", "results.csv", "environment.json", "report.json"}
HOSTILE = "<script>alert(1)</script>\"'&--></table>"


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, its table and its text outside scripts."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.cells, self.text, self._open = [], [], "", []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in {"th", "td"}:
            self.cells[-1].append("")

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.text += data
        if {"th", "td"} & set(self._open):
            self.cells[-1][-1] += data.strip()


@pytest.fixture(name="typical", scope="module")
def fixture_typical(made, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("typical") / "deep" / "report", made.typical(), made.meta())


def test_the_folder_holds_the_files_of_the_contract_and_no_drafts(typical):
    assert {path.name for path in typical.path.iterdir()} == FILES
    assert isinstance(typical, Report)
    assert typical.page.is_file()


def test_a_report_is_made_again_to_the_byte_from_what_was_saved(made, tmp_path):
    summary = pd.DataFrame({"solver": ["qr"], "dtype": ["float64"], "digits": [1 / 3], "seconds": [np.nan]})
    curves = made.curves(made.direct("qr"), made.iterated("gradient-descent"), summary=summary)
    first = {path.name: path.read_bytes() for path in write_report(tmp_path, curves, made.meta()).path.iterdir()}
    assert set(first) == FILES | {"summary.csv"}
    for name in ("report.html", "mse_vs_iteration.png"):
        (tmp_path / name).unlink()
    assert [report.path for report in rebuild_all(tmp_path)] == [tmp_path]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name != "index.html"} == first


def test_a_report_that_says_too_little_to_be_made_again_says_so(made, tmp_path):
    write_report(tmp_path, made.curves(made.direct("qr")), made.meta())
    (tmp_path / "report.json").write_text('{"command": "measure it again"}')
    with pytest.raises(ValueError, match="measure it again"):
        rebuild_all(tmp_path)


def test_results_on_disk_are_the_results(made, typical):
    saved = read_results((typical.path / "results.csv").read_text())
    pd.testing.assert_frame_equal(saved, made.typical().frame, check_exact=True)
    pd.testing.assert_frame_equal(typical.results, made.typical().frame, check_exact=True)


def test_the_environment_is_saved_as_it_was_given(typical):
    saved = json.loads((typical.path / "environment.json").read_text())
    assert saved == {"python": "3.11.7", "packages": {"torch": "2.13.0"}, "threads": 2}


def test_an_environment_of_odd_values_is_strict_json(made, tmp_path):
    odd = {"path": tmp_path, "nan": float("nan"), "count": np.int64(3), "list": (1, None), 5: True}
    report = write_report(tmp_path, made.curves(made.direct("qr")), made.meta(environment=odd))
    saved = json.loads((report.path / "environment.json").read_text())
    assert saved == {"path": str(tmp_path), "nan": "nan", "count": 3, "list": [1, None], "5": True}


def test_the_page_opens_with_the_conclusion_then_the_table_then_the_curves_and_ends_with_the_command(made, typical):
    text = Page(typical.page.read_text()).text
    marks = [
        typical.conclusion,
        "Where each solver ends",
        "Error against iteration",
        "How it was measured",
        "Environment",
    ]
    places = [text.index(mark) for mark in [*marks, made.meta().command]]
    assert places == sorted(places)


def test_the_table_shows_the_last_iterate(made, tmp_path):
    curves = made.curves(made.rows("rising", [1.0, 1e-30, 1e-12]), made.direct("gradient-descent", floor=1e-31))
    page = Page(write_report(tmp_path, curves, made.meta()).page.read_text())
    row = next(cells for cells in page.cells if cells[0] == "rising")
    assert row == ["rising", "float64", "1.0e-12", "6.0", "1.0e19×", "8.1e19×", "3.0e-13 – 4.0e-12", "8.0e-10", "2"]
    assert next(cells for cells in page.cells if cells[0] == "gradient-descent")[-1] == "direct"


def test_digits_say_where_they_come_from(made, tmp_path):
    given = pd.DataFrame({"solver": ["qr"], "dtype": ["float64"], "digits": [14.2], "ms": [0.123456]})
    derived = write_report(tmp_path, made.curves(made.direct("qr")), made.meta())
    assert "counted from the unit of the unknowns" in derived.page.read_text()
    assert "digits of an unknown of size one" in derived.conclusion
    stated = write_report(tmp_path, made.curves(made.direct("qr"), summary=given), made.meta())
    page = Page(stated.page.read_text())
    assert "14.2 correct digits" in stated.conclusion
    assert "correct digits" in page.cells[0]
    assert page.cells[1][-1] == "0.1235"


def test_nothing_is_loaded_from_anywhere(typical):
    html = typical.page.read_text()
    loading = [
        v for _, tag in Page(html).tags for k, v in tag.items() if k in {"src", "href", "srcset", "data", "action"}
    ]
    assert loading
    assert all(value.startswith("data:") for value in loading)
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "default-src 'none'" in html


def test_the_picture_stands_in_the_page_for_readers_without_scripts(typical):
    images = [attributes for tag, attributes in Page(typical.page.read_text()).tags if tag == "img"]
    assert base64.b64decode(images[0]["src"].partition(",")[2]) == typical.picture.read_bytes()
    assert typical.conclusion in images[0]["alt"]


@pytest.mark.parametrize("where", ["solver", "title", "note", "command", "reference", "environment", "further"])
def test_hostile_text_stays_text(made, tmp_path, where):
    summary = None
    changes = {
        "title": {"title": HOSTILE},
        "note": {"notes": (HOSTILE,)},
        "command": {"command": HOSTILE},
        "reference": {"reference": HOSTILE},
        "environment": {"environment": {HOSTILE: HOSTILE}},
    }.get(where, {})
    if where == "further":
        summary = pd.DataFrame({"solver": ["qr"], "dtype": ["float64"], HOSTILE: [HOSTILE]})
    name = HOSTILE if where == "solver" else "qr"
    report = write_report(tmp_path, made.curves(made.direct(name), summary=summary), made.meta(**changes))
    page = Page(report.page.read_text())
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert HOSTILE in page.text
    assert "<script" not in report._repr_html_()


def data_of(report):
    html = report.page.read_text()
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_the_script_is_given_the_same_numbers(made, typical):
    data = data_of(typical)
    assert [solver["name"] for solver in data["solvers"]] == made.typical().solvers
    curve = next(c for c in data["curves"] if c["solver"] == 0 and c["dtype"] == "float64")
    expected = made.typical().curve(made.learned, "float64")["mse_median"].to_numpy()
    np.testing.assert_allclose(curve["median"], expected, rtol=1e-8)


def test_long_curves_are_thinned_but_keep_their_ends(made):
    long = chart_data(made.curves(made.iterated("a", steps=5000)))["curves"][0]
    assert len(long["x"]) == POINTS_PER_CURVE == len(set(long["x"]))
    assert (long["x"][0], long["x"][-1]) == (0, 5000)


def test_a_diverged_solver_is_shown_as_diverged(made, tmp_path):
    report = write_report(tmp_path, made.diverging(), made.meta())
    page = Page(report.page.read_text())
    for name in ("overshooting", "lost"):
        cells = next(row for row in page.cells if row[0] == name)
        assert cells[2] == "diverged"
    assert "Diverged: overshooting (float64), lost (float64)." in page.text
    assert data_of(report)["curves"][2]["median"] == [1.0, None, None]


def test_an_error_of_zero_is_shown_as_zero(made, tmp_path):
    curves = made.curves(made.iterated("a"), made.direct("reference", floor=0.0))
    page = Page(write_report(tmp_path, curves, made.meta()).page.read_text())
    assert next(row for row in page.cells if row[0] == "reference")[2:4] == ["0", "all"]
    assert "no place on a logarithmic axis" in page.text


def test_a_report_replaces_the_one_before(made, tmp_path):
    write_report(tmp_path, made.curves(made.direct("old")), made.meta())
    report = write_report(tmp_path, made.curves(made.direct("new")), made.meta())
    assert "old" not in Page(report.page.read_text()).text.split()
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_a_failed_report_leaves_the_old_one_whole(made, tmp_path):
    write_report(tmp_path, made.curves(made.direct("old")), made.meta())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="subject"):
        write_report(tmp_path, made.curves(made.direct("new")), made.meta(subjects=("neither",)))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_notebook_shows_conclusion_table_and_picture(typical):
    page = Page(typical._repr_html_())
    assert typical.conclusion in page.text
    assert len(page.cells) == 1 + len(typical.summary)
    assert [tag for tag, _ in page.tags].count("img") == 1
    assert typical.conclusion in repr(typical)


def test_every_reference_between_parts_of_the_page_resolves(typical):
    tags = Page(typical.page.read_text()).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in tags:
        for key in ("aria-labelledby", "for"):
            assert attributes.get(key, ids[0]) in ids
