"""The documentation's settings: Markdown pages, and a reference drawn from the docstrings."""

import re
from importlib.metadata import version as version_of
from typing import Any

project = "precisionlab"
author = "The precisionlab developers"
version = release = version_of("precisionlab")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
default_role = "code"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nitpicky = False

html_theme = "furo"
html_title = "precisionlab"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Error", "Cost", "Reference"]

_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?:reports|notebooks)/[^)]+)\)")
_LABEL = re.compile(r"[A-Z][\w\s]*( \"[\w-]+\")?: ")


def setup(app: Any) -> None:
    """Let docstrings be prose, and pages name what lies outside the documentation.

    Args:
        app: Sphinx.
    """
    app.connect("source-read", _as_paths)
    app.connect("autodoc-process-docstring", _as_markup, priority=100)  # before napoleon reads the sections


def _as_paths(_app: Any, _name: str, source: list[str]) -> None:
    # Reports and notebooks are links where the repository is browsed; they are no part of the built pages.
    source[0] = _OUTSIDE.sub(
        lambda link: f"`{link[2]}`" if link[1] in link[2] else f"{link[1]} (`{link[2]}`)", source[0]
    )


def _as_markup(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    # A bar is the absolute value here, never a substitution.
    lines[:] = [line.replace("|", r"\|") for line in lines]
    if what == "module":
        lines[:] = _module(lines)


def _module(lines: list[str]) -> list[str]:
    """Give the head of a file its markup: labelled lines become paragraphs, indented formulas and examples blocks."""
    out: list[str] = []
    block = listed = False
    for line in lines:
        listed = line.startswith("- ") or (listed and line.startswith("  "))
        before = out[-1] if out else ""
        if not line.strip():
            block = block and bool(before.strip())
            out.append("")
        elif line[0] != " ":
            if block or _LABEL.match(line):
                out.append("")
            block = False
            out.append(line)
        elif not listed and (block or not before.strip() or before.rstrip().endswith((":", "where"))):
            out += [] if block else ["", "::", ""]
            block = True
            out.append(line.replace(r"\|", "|"))
        else:
            out.append(line if listed else line.strip())
    return out
