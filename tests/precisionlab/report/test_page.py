"""A page shows what it was given, and says where it was measured, or that nobody knows."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from precisionlab.report import Figure, Table, Text, write_index, write_page

from .test_plot import BASE, FRAME

HOSTILE = "<script>alert(1)</script>\"'&--></table>"
TABLE = Table(frame=FRAME, title="The numbers", formats={"mse": ".1e"}, caption="How.")
TEXT = Text(body="First.\n\n    code <here>\n\nLast.", title="Why")


class Html(HTMLParser):
    """What a page holds: its tags with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def given(**changes: Any) -> dict[str, Any]:
    return {
        "title": "Depth pays until four layers",
        "sections": [Figure(**BASE | {"name": "depth"}), TABLE, TEXT],
        "spread": "one seed",
        "settings": {"layers": [1, 2, 4], "nested": {"n": 5}},
        "environments": {"": {"python": "3.11", "versions": {"torch": "2.13"}}},
        "command": "python reports/depth/study.py --out 'reports/depth'",
        **changes,
    }


def test_a_page_says_what_made_it(tmp_path: Path) -> None:
    page = write_page(tmp_path, **given())
    html, text = Html(page.page.read_text("utf-8")).text, (tmp_path / "README.md").read_text("utf-8")
    for said in ("Depth pays until four layers", "one seed", "nested.n", "versions.torch", "--out 'reports/depth'"):
        assert said in html
        assert said in text
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "README.md", "depth.png"}
    assert "| 4 | softmax | 3.0e-03 | 0.03 | False |" in text
    assert "| 4 | linear\\|attention | – | inf | True |" in text
    assert "code <here>" in html


def test_an_environment_that_is_not_known_is_not_invented(tmp_path: Path) -> None:
    for environments in ({}, {"": {}}, {"results.csv": {}, "other.csv": {"python": "3.11"}}):
        page = write_page(tmp_path, **given(environments=environments))
        assert "Not recorded." in (tmp_path / "README.md").read_text("utf-8")
        assert "Not recorded." in page.page.read_text("utf-8")
    write_page(tmp_path, **given())
    assert "Not recorded." not in (tmp_path / "README.md").read_text("utf-8")


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    html = write_page(tmp_path, **given()).page.read_text("utf-8")
    loading = [v for _, tag in Html(html).tags for k, v in tag.items() if k in {"src", "href", "srcset", "action"}]
    assert loading
    assert all(str(value).startswith("data:") for value in loading)
    assert not re.search(r"https?://|@import|url\(|<script", html)
    images = [attributes["src"] for tag, attributes in Html(html).tags if tag == "img"]
    assert base64.b64decode(str(images[0]).partition(",")[2]) == (tmp_path / "depth.png").read_bytes()


@pytest.mark.parametrize("where", ["title", "spread", "command", "settings", "environment", "cell", "text", "figure"])
def test_hostile_text_stays_text(tmp_path: Path, where: str) -> None:
    changes: dict[str, Any] = {
        "settings": {"settings": {HOSTILE: HOSTILE}},
        "environment": {"environments": {HOSTILE: {HOSTILE: HOSTILE}}},
        "cell": {"sections": [Table(frame=pd.DataFrame({HOSTILE: [HOSTILE]}), title="t")]},
        "text": {"sections": [Text(body=HOSTILE, title=HOSTILE)]},
        "figure": {"sections": [Figure(**BASE | {"title": HOSTILE, "caption": HOSTILE})]},
    }.get(where, {where: HOSTILE})
    page = write_page(tmp_path, **given(**changes))
    for html in (page.page.read_text("utf-8"), page._repr_html_()):
        assert "script" not in {tag for tag, _ in Html(html).tags}
    assert HOSTILE in Html(page.page.read_text("utf-8")).text


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "title": ({"title": " "}, "title must not be blank"),
    "spread": ({"spread": ""}, "spread must not be blank"),
    "no section": ({"sections": []}, "got none"),
    "one name twice": ({"sections": [Figure(**BASE), Figure(**BASE)]}, "bear one name"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_page_that_says_too_little_is_refused(tmp_path: Path, case: str) -> None:
    changes, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        write_page(tmp_path, **given(**changes))
    assert not list(tmp_path.iterdir())


def test_malformed_sections_are_refused() -> None:
    with pytest.raises(ValueError, match="no column 'y'"):
        Table(frame=FRAME, title="", formats={"y": ".1e"})
    with pytest.raises(ValueError, match="blank"):
        Text(body=" \n")


def test_a_notebook_shows_the_sections(tmp_path: Path) -> None:
    page = write_page(tmp_path, **given())
    assert "Depth pays" in repr(page)
    assert [tag for tag, _ in Html(page._repr_html_()).tags].count("img") == 1
    assert "Where it was measured" not in page._repr_html_()


def test_the_index_lists_pages_at_any_depth(tmp_path: Path) -> None:
    write_page(tmp_path / "a" / "deep", **given())
    write_page(tmp_path / "b", **given(sections=[TEXT], title="Words <alone>"))
    html = write_index(tmp_path).read_text("utf-8")
    assert 'src="a/deep/depth.png"' in html
    assert html.count("<img") == 1
    assert "Words &lt;alone&gt;" in html
    with pytest.raises(NotADirectoryError):
        write_index(tmp_path / "none")
