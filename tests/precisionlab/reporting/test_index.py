from datetime import UTC, datetime

import pytest

from precisionlab.reporting import write_index, write_report


def test_reports_are_listed_newest_first_with_their_pictures(made, tmp_path):
    curves = made.curves(made.direct("qr"))
    for folder, day in (("a", 1), ("b b&<", 3), ("c", 2)):
        when = datetime(2026, 5, day, tzinfo=UTC)
        write_report(tmp_path / folder, curves, made.meta(title=f"Report of {folder}", generated_at=when))
    html = write_index(tmp_path, title="All of them").read_text()
    assert "<h1>All of them</h1>" in html
    assert html.index("Report of b b&amp;&lt;") < html.index("Report of c") < html.index("Report of a")
    assert 'href="b%20b%26%3C/report.html"' in html
    assert 'src="c/mse_vs_iteration.png"' in html
    assert html.count("qr ends at a median MSE of 4.0e-32") == 3
    assert "://" not in html


def test_what_is_no_report_is_passed_over(tmp_path):
    (tmp_path / "drafts").mkdir()
    (tmp_path / "notes.txt").touch()
    assert "no report here yet" in write_index(tmp_path).read_text()


def test_a_spoilt_report_is_named(made, tmp_path):
    write_report(tmp_path / "one", made.curves(made.direct("qr")), made.meta())
    (tmp_path / "one" / "report.json").write_text('{"title": "t"}')
    with pytest.raises(ValueError, match=r"one.report\.json"):
        write_index(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(NotADirectoryError, match="nowhere"):
        write_index(tmp_path / "nowhere")


def test_what_is_published_as_text_alone_is_listed_apart(made, tmp_path):
    for folder in ("paged", "told <b>"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "README.md").write_text(f"# Digits of {folder}\n\nText.\n")
    write_report(tmp_path / "paged", made.curves(made.direct("qr")), made.meta())
    html = write_index(tmp_path).read_text()
    assert '<a href="told%20%3Cb%3E/README.md">Digits of told &lt;b&gt;</a>' in html
    assert "Digits of paged" not in html
