"""Equivariant attention with an answer token, which reads at every layer what the others read at the last.

    Z_o ← Σ_c M_oc Z_c + Σ_kvq T_okvq Σ_i P_v(i) ⟨P_k(i), Z_q⟩ + Σ_c R_oc Σ_i P_c(i) b_i

Rows have the tokens of `equivariant_attention`; one token more holds channels Z_c ∈ Rⁿ that begin at zero, and the last
layer emits such a sum. Without it, what is emitted is Σ_i P(i) b_i, as good as the last product of three channels but
one; with it K layers attain the degree (3^K − 1)/2 that bounds every stack of linear attention (docs/end-to-end.md).
"""

from typing import Any

import torch
from pydantic import PositiveInt
from torch import nn

from precisionlab.models.equivariant_attention import EquivariantAttention, EquivariantStack
from precisionlab.models.mixer import mixer


@mixer("equivariant-answer")
class EquivariantAnswer(EquivariantAttention):
    """Settings of equivariant attention with an answer token.

    Args:
        answers: Channels of the answer token.
    """

    answers: PositiveInt = 1

    def _stack(self, *args: Any, **kwargs: Any) -> "AnswerStack":
        return AnswerStack(self, *args, **kwargs)


class AnswerStack(EquivariantStack):
    """Hidden layers that update the tokens of rows and the answer token, and one that emits from the answer token.

    Its arguments are those of `EquivariantStack`.
    """

    mixer: EquivariantAnswer

    def _made(self, channels: int, products: list[tuple[int, int, int]]) -> None:
        if not self.numbers or self.shape.every_token:
            raise ValueError("equivariant-answer: wants tokens with a number each, and one answer")
        pairs = sorted({(key, value) for key, value, _ in products})
        count = self.mixer.answers
        super()._made(count, [(*pair, query) for pair in pairs for query in range(count)])
        self.answer_mix = nn.Parameter(torch.zeros(self.hidden, count, count))
        self.answer_attention = nn.Parameter(torch.zeros(self.hidden, count, len(self.reading)))
        self.answer_read = nn.Parameter(torch.zeros(self.hidden, count, channels))

    def forward(self, prompt: torch.Tensor) -> torch.Tensor:
        """Emit the answer to each prompt.

        Args:
            prompt: (B, T, F), of the model's dtype; F may be that of another n than in training.

        Returns:
            (B, n).
        """
        tokens, answer, numbers = self.before(prompt, self.hidden)
        return self.emitted(answer, tokens, numbers)

    def before(self, prompt: torch.Tensor, layers: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What the first layers leave.

        Args:
            prompt: (B, T, F).
            layers: How many hidden layers.

        Returns:
            The tokens of rows (C, B, T, n), the answer token (C', B, 1, n), and the numbers (B, T).
        """
        tokens, numbers = self.read(prompt)
        answer = tokens.new_zeros(self.mixer.answers, len(prompt), 1, tokens.shape[-1])
        for place in range(layers):
            weights = zip(self.answer_mix[place], self.answer_attention[place], self.answer_read[place], strict=True)
            now = torch.stack([self.sum(answer, tokens, numbers, *each) for each in weights])
            tokens, answer = self.next(tokens, self.mix[place], self.attention[place]), now
        return tokens, answer, numbers
