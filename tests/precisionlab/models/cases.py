"""Every mixer in every form: what the tests of mixers run over."""

from itertools import product

from precisionlab.models import ModelConfig

WIDTH, TOKENS = 8, 7


def _forms() -> dict[str, ModelConfig]:
    forms: dict[str, dict[str, object]] = {}
    for filter_, causal, taps, projections in product(
        ("short", "long", "implicit"), (False, True), (None, 3), (True, False)
    ):
        name = f"gated-conv {filter_} taps={taps} {'with' if projections else 'without'} projections"
        forms[f"{name}{' causal' * causal}"] = {
            "mixer": "gated-conv",
            "filter": filter_,
            "causal": causal,
            "taps": taps,
            "projections": projections,
        }
    for mixer, (causal, prefix), heads in product(
        ("linear-attention", "softmax"), ((False, 0), (True, 0), (True, 3)), (1, 2)
    ):
        name = f"{mixer} heads={heads}{' causal' * causal}{f' prefix={prefix}' * bool(prefix)}"
        forms[name] = {"mixer": mixer, "causal": causal, "prefix": prefix, "heads": heads}
    forms["linear-attention not normalised"] = {"mixer": "linear-attention", "normalise": "none"}
    return {
        name: ModelConfig(width=WIDTH, layers=1, reads="last" if form.get("causal") else "first", **form)  # type: ignore[arg-type]
        for name, form in forms.items()
    }


FORMS = _forms()
CAUSAL = {name: form for name, form in FORMS.items() if form.causal}
FEW = {
    name: FORMS[name]
    for name in (
        "gated-conv short taps=None with projections",
        "gated-conv long taps=3 without projections causal",
        "gated-conv implicit taps=None with projections",
        "linear-attention heads=2",
        "linear-attention heads=1 causal prefix=3",
        "softmax heads=2",
        "softmax heads=1 causal",
    )
}
"""One or two of each, for what does not depend on the form."""
