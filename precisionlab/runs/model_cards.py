"""Model cards of the shipped checkpoints, made from what each says of itself.

``python -m precisionlab.runs.model_cards`` writes them. A card is the README.md beside the weights: front matter as
model hubs read it, then what the model is, how well it was measured to do and how to use it.
"""

import json
from pathlib import Path

from precisionlab.config import kind_of
from precisionlab.runs import zoo
from precisionlab.runs.directory import CONFIG, ENVIRONMENT
from precisionlab.runs.files import write_atomically
from precisionlab.runs.loading import load
from precisionlab.runs.run import Run

README = "README.md"

_TEMPLATE = """---
license: mit
library_name: precisionlab
tags: [least-squares, learned-solver, {mixer}, {dtype}]
model-index:
- name: {name}
  results:
  - task: {{type: regression, name: {task}}}
    dataset: {{type: synthetic, name: "{problems:,} fresh problems"}}
    metrics: [{{type: mse, value: {mse}}}]
---
# {name}

{summary}.

| | |
| --- | --- |
| parameters | {parameters:,} |
| dtype | {dtype} |
| MSE of what it emits, on {problems:,} fresh problems | {mse} |
| training | {seconds:.0f} s, seed {seed}, {attempts}; ended: {ended} |
| trained with | precisionlab {version}, torch {torch}, {processor}, {threads} |

The error is against targets computed above the model's precision, on problems that training did not see.

```python
import precisionlab

run = precisionlab.load("{name}")  # .model, .metrics, .card
solver = precisionlab.load_solver("{name}")  # solver.solve(A, b)
```

Made again by `{command}`, from this configuration:

```toml
{config}
```
"""


def _render(run: Run, environment: dict[str, object], config: str) -> str:
    """Write a model card."""
    card, model, versions = run.card, run.experiment.model, environment.get("versions", {})
    known = versions if isinstance(versions, dict) else {}
    return _TEMPLATE.format(
        name=card.name,
        summary=card.summary,
        task=kind_of(run.experiment.task),
        mixer=kind_of(model.mixer),
        dtype=card.dtype,
        parameters=card.parameters,
        problems=card.test_problems,
        mse="not measured" if card.test_mse is None else f"{card.test_mse:.1e}",
        seconds=card.seconds,
        seed=card.seed,
        attempts="1 start" if card.attempts == 1 else f"{card.attempts} starts",
        ended=card.ended,
        version=known.get("precisionlab", "unknown"),
        torch=known.get("torch", "unknown"),
        processor=environment.get("processor", "processor unknown"),
        threads=f"threads: {environment.get('threads', 'unknown')}",
        command=card.command,
        config=config.strip(),
    )


def written(folder: Path) -> str:
    """The card that a checkpoint's folder should hold.

    Args:
        folder: The checkpoint's.

    Returns:
        Markdown with front matter.
    """
    environment, config = ((folder / name).read_text(encoding="utf-8") for name in (ENVIRONMENT, CONFIG))
    return _render(load(folder), json.loads(environment), config)


def main() -> None:
    """Write the card of every shipped checkpoint."""
    for name in zoo.names():
        folder = zoo.path(name)
        assert folder is not None
        write_atomically(folder / README, written(folder).encode())


if __name__ == "__main__":
    main()
