"""Every mixer in every form: what the tests of mixers run over."""

from itertools import product

from precisionlab.models import GatedConvolution, LinearAttention, Mesa, Mixer, SoftmaxAttention

WIDTH, TOKENS = 8, 7


def _forms() -> dict[str, Mixer]:
    forms: dict[str, Mixer] = {}
    for filter_, causal, taps, projections in product(
        ("short", "long", "implicit"), (False, True), (None, 3), (True, False)
    ):
        name = f"gated-conv {filter_} taps={taps} {'with' if projections else 'without'} projections"
        forms[f"{name}{' causal' * causal}"] = GatedConvolution(
            filter=filter_,  # type: ignore[arg-type]
            causal=causal,
            taps=taps,
            projections=projections,
        )
    for mixer, (causal, prefix), heads in product(
        (LinearAttention, SoftmaxAttention), ((False, 0), (True, 0), (True, 3)), (1, 2)
    ):
        name = f"{mixer.kind} heads={heads}{' causal' * causal}{f' prefix={prefix}' * bool(prefix)}"  # type: ignore[attr-defined]
        forms[name] = mixer(causal=causal, prefix=prefix, heads=heads)
    forms |= {f"mesa{' gated' * gated}": Mesa(heads=2, gated=gated, floor=0.25) for gated in (False, True)}
    forms["linear-attention not normalised"] = LinearAttention(normalise="none")
    return forms


FORMS = _forms()
CAUSAL = {name: form for name, form in FORMS.items() if getattr(form, "causal", False)}
FEW = {
    name: FORMS[name]
    for name in (
        "gated-conv short taps=None with projections",
        "gated-conv long taps=3 without projections causal",
        "gated-conv implicit taps=None with projections",
        "linear-attention heads=2",
        "linear-attention heads=1 causal prefix=3",
        "mesa gated",
        "softmax heads=2",
        "softmax heads=1 causal",
    )
}
"""One or two of each, for what does not depend on the form."""
