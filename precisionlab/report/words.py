"""Numbers and lists as they stand in sentences."""

import math
from collections.abc import Iterable


def format_mse(value: float) -> str:
    """Write an error in two significant digits.

    Args:
        value: Mean squared error.

    Returns:
        Text such as ``3.1e-31``, ``0.25``, ``0`` or ``diverged``.

    >>> format_mse(3.14e-31), format_mse(0.25), format_mse(float("nan"))
    ('3.1e-31', '0.25', 'diverged')
    """
    if not math.isfinite(value):
        return "diverged"
    return f"{value:.2g}" if value == 0 or 0.1 <= value < 99.5 else _scientific(value)


def format_ratio(value: float) -> str:
    """Write a ratio at a precision that suits its size.

    Args:
        value: The ratio, or NaN where there is none.

    Returns:
        Text such as ``1.3×``, ``250×``, ``2.6e17×`` or a dash.

    >>> format_ratio(1.34), format_ratio(2.6e17), format_ratio(float("inf"))
    ('1.3×', '2.6e17×', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0×"
    if 0.01 <= value < 10_000:
        digits = f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"
        return f"{digits}×"
    return f"{_scientific(value)}×"


def listed(words: Iterable[str]) -> str:
    """Put words into a sentence.

    Args:
        words: Which.

    Returns:
        Text such as ``a, b and c``.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def counted(count: int, what: str) -> str:
    """Write a number of things.

    Args:
        count: How many.
        what: One of them.

    Returns:
        Text such as ``1 seed`` or ``4,096 problems``.

    >>> counted(1, "seed"), counted(4096, "problem")
    ('1 seed', '4,096 problems')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def sentence(parts: Iterable[str]) -> str:
    """Make a sentence of parts.

    Args:
        parts: Some words each.

    Returns:
        They, with semicolons between and the first letter large; without a full stop.

    >>> sentence(["adam is at 1", "SGD is at 2"])
    'Adam is at 1; SGD is at 2'
    """
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]


def _scientific(value: float) -> str:
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
