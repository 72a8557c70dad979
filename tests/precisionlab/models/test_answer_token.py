"""The answer token: its formula, and what it shares with the rows."""

import pytest
import torch

from precisionlab.models import AnswerStack, EquivariantAnswer, ModelConfig, Shape, build

SHAPE = Shape(in_features=4, out_features=3, tokens=6, every_token=False)


def made(*, width: int = 3, layers: int = 3, answers: int = 2) -> AnswerStack:
    config = ModelConfig(mixer=EquivariantAnswer(answers=answers), width=width, layers=layers, positions="none")
    model = build(config, SHAPE, generator=torch.Generator().manual_seed(0))
    assert isinstance(model, AnswerStack)
    return model


def by_formula(model: AnswerStack, prompt: torch.Tensor) -> torch.Tensor:
    """Token by token, as it is written."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    answers = []
    for problem in prompt:
        A, b, N = problem[:, :-1], problem[:, -1], len(problem)
        P = [A] + [torch.zeros_like(A)] * model.own
        Z = [torch.zeros_like(A[0])] * model.mixer.answers

        def added(query, mix, attention, products, channels, P=P, N=N):
            total = sum(w * channels[c] for c, w in enumerate(mix))
            for w, (k, v, q) in zip(attention, products, strict=True):
                total = total + w * sum(P[v][i] * (P[k][i] @ query[q]) for i in range(N)) / N
            return total

        for layer in range(model.hidden):
            rows = [
                torch.stack([
                    added([p[j] for p in P], mix, attention, model.products, [p[j] for p in P], P=P) for j in range(N)
                ])
                for mix, attention in zip(weights["mix"][layer], weights["attention"][layer], strict=True)
            ]
            each = zip(*(weights[f"answer_{part}"][layer] for part in ("mix", "attention", "read")), strict=True)
            Z = [
                added(Z, mix, attention, model.reading, Z, P=P)
                + sum(w * sum(p[i] * b[i] for i in range(N)) / N for w, p in zip(read, P, strict=True))
                for mix, attention, read in each
            ]
            P = [A, *rows]
        emitted = added(Z, weights["emit_mix"], weights["emit_attention"], model.reading, Z, P=P)
        read = zip(weights["emit_read"], P, strict=True)
        answers.append(emitted + sum(w * sum(p[i] * b[i] for i in range(N)) / N for w, p in read))
    return torch.stack(answers)


def test_it_is_its_formula() -> None:
    model = made()
    prompt = torch.randn(4, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = by_formula(model, prompt)
    torch.testing.assert_close(model(prompt).detach(), expected, rtol=1e-11, atol=1e-11 * float(expected.abs().max()))


def test_any_size_and_any_rotation() -> None:
    model = made()
    generator = torch.Generator().manual_seed(2)
    A = torch.randn(5, 9, 7, dtype=torch.float64, generator=generator)
    b = torch.randn(5, 9, 1, dtype=torch.float64, generator=generator)
    Q, _ = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64, generator=generator))
    x, turned = (model(torch.cat([left, b], dim=-1)).detach() for left in (A, A @ Q))
    torch.testing.assert_close(turned, x @ Q, rtol=1e-9, atol=1e-9 * float(x.abs().max()))


def test_the_answer_is_linear_in_b() -> None:
    model = made()
    A, b, c = torch.randn(3, 5, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).unbind()
    both = [model(torch.cat([A, right[..., :1]], dim=-1)).detach() for right in (b, c, 2 * b - c)]
    torch.testing.assert_close(both[2], 2 * both[0] - both[1], rtol=1e-9, atol=1e-9 * float(both[0].abs().max()))


@pytest.mark.parametrize(("numbers", "every"), [(0, False), (1, True)])
def test_what_it_cannot_read_is_refused(numbers: int, every: bool) -> None:
    config = ModelConfig(mixer=EquivariantAnswer(numbers=numbers), width=2, layers=2, positions="none")
    shape = Shape(in_features=3 + numbers, out_features=3, tokens=6, every_token=every)
    with pytest.raises(ValueError, match="equivariant-answer"):
        build(config, shape)
