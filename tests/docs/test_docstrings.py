"""Every public name says what it is; what a user calls describes each argument, and what it returns. Doctests hold."""

import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
from typing import NoReturn

import pytest

import precisionlab
import solvers

PACKAGES = (precisionlab, solvers)
SCRIPTS = re.compile(r"__main__$")


def modules():
    for package in PACKAGES:
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not SCRIPTS.search(found.name) and not any(part.startswith("_") for part in found.name.split(".")):
                yield found.name


MODULES = sorted(modules())
FACADES = [name for name in MODULES if hasattr(importlib.import_module(name), "__all__")]


def public(name):
    module = importlib.import_module(name)
    for attribute in getattr(module, "__all__", [n for n in vars(module) if not n.startswith("_")]):
        value = getattr(module, attribute)
        # A class or function is documented where it is written, and looked at there; __all__ lists it wherever it is.
        here = hasattr(module, "__all__") or getattr(value, "__module__", None) == name
        if here and (inspect.isfunction(value) or inspect.isclass(value)):
            yield attribute, value


def lacks(value):
    text = inspect.getdoc(value) or ""
    if not text:
        return ["a docstring"]
    missing = []
    if inspect.isfunction(value):
        named = list(inspect.signature(value).parameters)
    else:  # the fields of a dataclass; inherited ones are described by the class they come from
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        named = [one.name for one in fields if one.name in inspect.get_annotations(value) and one.name != "kind"]
    missing += [f"the argument {name}" for name in named if not re.search(rf"^\s*\**{name}: \S", text, re.MULTILINE)]
    if inspect.isfunction(value) and not inspect.isgeneratorfunction(inspect.unwrap(value)):
        returned = inspect.signature(value).return_annotation
        if returned not in {None, "None", "NoReturn", NoReturn, inspect.Signature.empty} and "Returns:" not in text:
            missing += ["what it returns"] if "Yields:" not in text else []
    return missing


INNER = ("solvers.fused", "solvers.learned.", "solvers.testing.")
"""Rooms whose functions are called from inside alone: a line says what each does. Their classes are a user's to see."""


def owes(name, value):
    missing = lacks(value)
    return missing if "a docstring" in missing or inspect.isclass(value) or not name.startswith(INNER) else []


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_described(name):
    assert (importlib.import_module(name).__doc__ or "").strip(), f"{name} has no docstring"
    undescribed = {attribute: owes(name, value) for attribute, value in public(name)}
    assert {attribute: missing for attribute, missing in undescribed.items() if missing} == {}


SHAPED = ("A", "b", "x", "x_ref")


def test_arrays_are_described_with_their_shape():
    bare = []
    for name in [*FACADES, "solvers.errors", "solvers.certify", "solvers.gradient_descent", "solvers.reference"]:
        for attribute, value in public(name):
            for argument in set(SHAPED) & set(inspect.signature(value).parameters if inspect.isfunction(value) else ()):
                described = re.search(rf"^\s*{argument}: .*", inspect.getdoc(value), re.MULTILINE)
                if not re.search(r"\(.*\)", described[0]):
                    bare.append(f"{name}.{attribute}: {described[0].strip()}")
    assert bare == []


@pytest.mark.parametrize("name", MODULES)
def test_doctests_hold(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_doctests():
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert sum(len(one.examples) for name in MODULES for one in finder.find(importlib.import_module(name))) > 0
