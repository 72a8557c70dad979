"""The NIST StRD linear regression sets, in units that make every datum exact.

A certified coefficient belongs to the decimal data. Rounding 88.5 to binary is harmless, rounding 88.2 is not: it moves
the solution by κ·u, and a solver is then charged for an error that it did not make. So each column and each response is
given in the unit that makes it a whole number (Longley's deflator in tenths, Pontius's deflections in 1e-5), and the
certified coefficients are stated in the same units. Changing units scales columns, which leaves correct digits alone.

Filip is left out: its tenth powers of ten-digit decimals have no exact float64 representation in any unit.

Reference: NIST Statistical Reference Datasets, linear regression, https://www.itl.nist.gov/div898/strd/lls/lls.shtml.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from solvers.reference import solve_exact


@dataclass(frozen=True, kw_only=True, eq=False)
class NistProblem:
    """One StRD set as a least-squares problem.

    Args:
        name: the set's name.
        A: the design matrix, whole numbers, float64, (m, n).
        b: the responses, whole numbers, float64, (m,).
        certified: the certified coefficients in the units of A and b, to 15 digits, float64, (n,).
        difficulty: NIST's own grade.
    """

    name: str
    A: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    certified: npt.NDArray[np.float64]
    difficulty: str


def problems() -> list[NistProblem]:
    """All the sets.

    Returns:
        In NIST's order of difficulty.
    """
    return [_norris(), _pontius(), *_no_intercept(), _longley(), *_wampler()]


def problem(name: str) -> NistProblem:
    """One set by name.

    Args:
        name: such as "Longley".

    Returns:
        The set.

    Raises:
        ValueError: if there is no such set.
    """
    table = {p.name: p for p in problems()}
    if name not in table:
        raise ValueError(f"name: got {name!r}, wants one of {', '.join(table)}")
    return table[name]


def _make(
    name: str,
    difficulty: str,
    columns: list[list[int]],
    response: list[int],
    certified: list[str],
    *,
    units: list[int] | None = None,
    response_unit: int = 1,
) -> NistProblem:
    """A set from columns in multiples of 1/unit, responses of 1/response_unit, and coefficients as NIST prints them."""
    # b = Σ a_j x_j with a_j = A_j/unit_j and b = B/response_unit gives B = Σ A_j (x_j response_unit/unit_j).
    scales = units or [1] * len(columns)
    moved = [float(Fraction(c) * response_unit / unit) for c, unit in zip(certified, scales, strict=True)]
    A = np.array(columns, dtype=np.float64).T.copy()
    b = np.array(response, dtype=np.float64)
    return NistProblem(name=name, A=A, b=b, certified=np.array(moved), difficulty=difficulty)


def _norris() -> NistProblem:
    x = """2 3374 1182 8846 101 2265 6663 9963 4486 7770 5582 4 6 7755 6669 3380 4475 116 5560 2281 9958 8876 1202 3 3
        5568 3391 8872 9990 7790 111 1183 2292 6691 4489 5"""
    y = """1 3388 1181 8880 92 2281 6685 9985 4491 7789 5592 3 1 7781 6688 3393 4489 108 5577 2283 9980 8888 1196 3 6
        5576 3393 8880 9985 7789 102 1176 2289 6684 4492 2"""
    tenths = _integers(x)
    columns = [[1] * len(tenths), tenths]
    certified = ["-0.262323073774029", "1.00211681802045"]
    return _make("Norris", "lower", columns, _integers(y), certified, units=[1, 10], response_unit=10)


def _pontius() -> NistProblem:
    y = """11019 21956 32949 43899 54803 65694 76562 87487 98292 109146 120001 130822 141599 152399 163194 173947 184646
        195392 206128 216844 11052 22018 32939 43886 54798 65739 76596 87474 98300 109150 120004 130818 141613 152408
        163159 173965 184696 195445 206177 216829"""
    x = [150_000 * k for k in range(1, 21)] * 2
    certified = ["0.673565789473684E-03", "0.732059160401003E-06", "-0.316081871345029E-14"]
    columns = [[1] * len(x), x, [v * v for v in x]]
    return _make("Pontius", "lower", columns, _integers(y), certified, response_unit=100_000)


def _no_intercept() -> list[NistProblem]:
    return [
        _make("NoInt1", "average", [list(range(60, 71))], list(range(130, 141)), ["2.07438016528926"]),
        _make("NoInt2", "average", [[4, 5, 6]], [3, 4, 4], ["0.727272727272727"]),
    ]


def _longley() -> NistProblem:
    employed = "60323 61122 60171 61187 63221 63639 64989 63761 66019 67857 68169 66513 68655 69564 69331 70551"
    deflator_tenths = "830 885 882 895 962 981 990 1000 1012 1046 1084 1108 1126 1142 1157 1169"
    product = """234289 259426 258054 284599 328975 346999 365385 363112 397469 419180 442769 444546 482704 502601
        518173 554894"""
    unemployed = "2356 2325 3682 3351 2099 1932 1870 3578 2904 2822 2936 4681 3813 3931 4806 4007"
    armed_forces = "1590 1456 1616 1650 3099 3594 3547 3350 3048 2857 2798 2637 2552 2514 2572 2827"
    population = """107608 108632 109773 110929 112075 113270 115094 116219 117388 118734 120445 121950 123366 125368
        127852 130081"""
    columns = [
        [1] * 16,
        *[_integers(text) for text in (deflator_tenths, product, unemployed, armed_forces, population)],
        list(range(1947, 1963)),
    ]
    certified = [
        "-3482258.63459582",
        "15.0618722713733",
        "-0.358191792925910E-01",
        "-2.02022980381683",
        "-1.03322686717359",
        "-0.511041056535807E-01",
        "1829.15146461355",
    ]
    return _make("Longley", "higher", columns, _integers(employed), certified, units=[1, 10, 1, 1, 1, 1, 1])


def _wampler() -> list[NistProblem]:
    x = range(21)
    columns = [[v**power for v in x] for power in range(6)]
    ones = ["1"] * 6
    polynomial = [sum(v**power for power in range(6)) for v in x]
    hundred_thousandths = [sum(v**power * 10 ** (5 - power) for power in range(6)) for v in x]
    half = [759, -2048, 2048, -2048, 2523, -2048, 2048, -2048, 1838, -2048]
    noise = [*half, 2048, *reversed(half)]
    tenths = [f"1E-{power}" for power in range(6)]
    sets = [
        _make("Wampler1", "higher", columns, polynomial, ones),
        _make("Wampler2", "higher", columns, hundred_thousandths, tenths, response_unit=100_000),
    ]
    for index, factor in ((3, 1), (4, 100), (5, 10_000)):
        response = [y + factor * delta for y, delta in zip(polynomial, noise, strict=True)]
        sets.append(_make(f"Wampler{index}", "higher", columns, response, ones))
    return sets


def _integers(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def exact(item: NistProblem) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The solution of a set beyond the 15 digits that are certified.

    Args:
        item: the set.

    Returns:
        hi and lo of `solvers.reference.solve_exact`; rounded to 15 digits they are the certified coefficients.

    Error:
        u² relative.
    """
    return solve_exact(item.A, item.b)
