"""Prompts made of a problem's rows and an iterate: where the iterate stands, and how often all of it is read.

    query "first"   [x₀, 0], [a₁, b₁], …, [a_N, b_N]
    query "last"    [a₁, b₁], …, [a_N, b_N], [x₀, 0]

A causal model that reads the rows before x₀ must choose what to keep of them before it knows at which point it will be
asked. Reading the whole prompt `repeats` times, one copy after another, takes that burden away: in the second copy
every row comes after x₀.

Reference: Arora et al., Just read twice, arXiv 2407.05483 (JRT-Prompt).
"""

from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field

Query = Literal["first", "last"]
Repeats = Annotated[int, Field(gt=0, le=16)]


class Problem(NamedTuple):
    """What a prompt says.

    Args:
        A: Rows, (B, N, n).
        b: Right-hand sides, (B, N).
        x: Iterates, (B, n).
    """

    A: torch.Tensor
    b: torch.Tensor
    x: torch.Tensor


def rows_of(A: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Rows as tokens.

    Args:
        A: Rows, (B, N, n).
        b: Right-hand sides, (B, N).

    Returns:
        Tokens, (B, N, n+1): token i is [a_i, b_i].
    """
    return torch.cat([A, b.unsqueeze(-1)], dim=-1)


def write(problem: Problem, *, query: Query = "first", repeats: int = 1) -> torch.Tensor:
    """A problem and an iterate as tokens.

    Args:
        problem: What to write.
        query: Whether the iterate stands before the rows or after them.
        repeats: Copies of the prompt.

    Returns:
        Tokens, (B, repeats·(N+1), n+1).
    """
    iterate, rows = torch.nn.functional.pad(problem.x.unsqueeze(-2), (0, 1)), rows_of(problem.A, problem.b)
    return torch.cat([iterate, rows] if query == "first" else [rows, iterate], dim=-2).repeat(1, repeats, 1)


def read(prompt: torch.Tensor, *, query: Query = "first", repeats: int = 1) -> Problem:
    """What a prompt says; the inverse of `write`.

    Args:
        prompt: Tokens, (B, repeats·(N+1), n+1).
        query: Whether the iterate stands before the rows or after them.
        repeats: Copies of the prompt; the first is read.

    Returns:
        The problem and the iterate.
    """
    once = prompt[:, : prompt.shape[1] // repeats]
    iterate, rows = (once[:, 0], once[:, 1:]) if query == "first" else (once[:, -1], once[:, :-1])
    return Problem(rows[..., :-1], rows[..., -1], iterate[..., :-1])
