"""The rules that turn measurements into findings.

A rule takes what was measured and returns a finding, or None where there is nothing to say; `RULES` is
the list of them. Their thresholds stand here, by name, to be argued with:

    phi_m < LOST       an input m steps back moves the weights less than rounding and noise do
    phi_m < FAINT      it is learned slowly, if at all (`learnable.py`)
    phi_l > GROWN      the gradient grows on its way back: it explodes sooner or later
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from throughtime.diagnostics.findings import Cure, Finding
from throughtime.diagnostics.learnable import GATED, REACHES
from throughtime.diagnostics.measures import LayerMeasures, Measures, furthest
from throughtime.nn import Init, chrono, identity, orthogonal
from throughtime.training import L2, RandomTruncation, Truncation

LOST, FAINT, GROWN = 1e-4, REACHES, 100.0
SMALLEST_HALF = 2.0**-24  # of float16; smaller gradients are zero there
SATURATED, DEAD = 0.5, 0.1  # shares of units
TOLERATED_BIAS = 0.1
BUSY = 0.9  # a clip that fires this often is a learning rate
STRAIGHT = 0.9  # the cosine between a gradient and what clipping leaves of it

Evidence = dict[str, float | int | str | None]
Rule = Callable[[Measures], Finding | None]


def reach(found: Measures) -> Finding | None:
    """Compare the lag that the data need with the lag that the gradient reaches."""
    m = needed(found)
    if m is None:
        return None
    share, layer = found.reach(m)
    if not share <= GROWN:  # it explodes, which is another finding
        return None
    what, back = _cycle_or_lag(found, m), f"{_steps(found, m)} back"
    beyond = m > max(each.steps for each in found.layers)  # then the profile is carried on
    reaches = "would reach" if beyond else "reaches"
    there = f"the gradient that {reaches} {back} is {_small(share)} of the newest one"
    if share == 0:
        there = f"no gradient at all {reaches} {back}"
    evidence: Evidence = {"lag": m, "gradient": share, "layer": layer}
    if share >= FAINT:
        return Finding("fine", "reach", f"{what}; {there}: this net can learn it.", evidence)
    cures = _reach_cures(found, m, share)
    climbs = _climbs(found)
    verdict = (
        "this net has to open its gates for nearer lags first"
        if climbs
        else "this net cannot learn it"
        if share < LOST
        else "this net will learn it slowly, if at all"
    )
    best = f"; `{cures[0].argument}` {cures[0].effect}" if cures and cures[0].effect else ""
    severity: Any = "serious" if share < LOST and not climbs else "warning"
    return Finding(severity, "reach", f"{what}; {there}: {verdict}{best}.", evidence, cures)


def _climbs(found: Measures) -> bool:
    """Say whether a gated net has something to learn nearby, on the way to the lag that it needs."""
    assert found.need is not None
    nearest = min(each.lag for each in found.need.lags)
    gated = any(layer.operator in GATED for layer in found.layers)
    return gated and nearest < (needed(found) or 0) and found.reach(nearest)[0] >= FAINT


def needed(found: Measures) -> int | None:
    """Return the lag that the data need: their cycle, or the longest lag they depend on."""
    if found.need is None or not found.need.longest:
        return None
    return found.need.cycle or found.need.longest


def window(found: Measures) -> Finding | None:
    """Say where the windows are shorter than what the data depend on."""
    m, T = needed(found), max(layer.steps for layer in found.layers)
    if m is None or m <= T:
        return None
    sentence = (
        f"{_cycle_or_lag(found, m)}, but the net reads {_steps(found, T)}: "
        "what came before cannot be learned from."
    )
    cure = Cure(f"context_length={2 * m}", {"context_length": 2 * m})
    return Finding("warning", "window", sentence, {"lag": m, "steps": T}, (cure,))


def vanishing(found: Measures) -> Finding | None:
    """Say how soon the gradient is lost, where nothing is known of what the data need."""
    if needed(found) is not None:
        return None
    T = max(layer.steps for layer in found.layers)
    share, layer = found.reach(T)
    profiles = {each.layer: each.lag_profile for each in found.layers}
    profile = profiles[layer]
    evidence: Evidence = {
        "layer": layer,
        "memory": profile.memory,
        "half_life": _finite(profile.half_life),
    }
    if profile.memory is None:
        sentence = f"The gradient keeps more than 1 % of its size over all {_steps(found, T)}."
        return Finding("fine", "reach", sentence, evidence)
    half = f", half after {profile.half_life:.2g}" if _finite(profile.half_life) else ""
    sentence = (
        f"The gradient falls under 1 % of its size after {_steps(found, profile.memory)} "
        f"of {T}{half}; what lies further back is learned slowly, if at all."
    )
    near = profile.memory > T / 2
    return Finding(
        "note" if near else "warning",
        "vanishing",
        sentence,
        evidence,
        () if near else _reach_cures(found, T, share),
    )


def exploding(found: Measures) -> Finding | None:
    """Say where the gradient grows on its way back."""
    worst = max(found.layers, key=lambda layer: _highest(layer.lag_profile.norms))
    norms = worst.lag_profile.norms
    if _highest(norms) < GROWN:
        return None
    held = np.nan_to_num(norms, nan=0.0, posinf=0.0)
    lag = int(held.argmax())
    growth = float(held[lag]) ** (1 / max(1, lag))
    sentence = (
        f"The gradient grows {_times(growth)} a step on its way back, to {_small(held[lag])} times "
        f"the newest one {_steps(found, lag)} back"
    )
    end = (
        ": it explodes."
        if np.isfinite(norms).all()
        else f", and is no number beyond: in {found.precision} it overflows."
    )
    cures = (*_starts(found, worst, want_small=True), Cure("clip=1.0", {"clip": 1.0}))
    evidence: Evidence = {"layer": worst.layer, "largest": float(held[lag]), "lag": lag}
    return Finding("serious", "exploding", sentence + end, evidence, cures)


def chaos(found: Measures) -> Finding | None:
    """Say what the Lyapunov exponents mean: a chaotic net needs truncation, not a tighter clip."""
    spectra = [layer.lyapunov for layer in found.layers if layer.lyapunov is not None]
    if not spectra:
        return None
    worst = max(spectra, key=lambda spectrum: spectrum.largest)
    largest = worst.largest
    evidence: Evidence = {
        "layer": worst.layer,
        "largest exponent": _finite(largest),
        "error": worst.error,
    }
    if worst.verdict == "contracting":
        return None
    if worst.verdict == "near the edge":
        sentence = (
            f"The largest Lyapunov exponent is {largest:+.3f} a step: near the edge of chaos, where "
            "gradients neither vanish nor explode."
        )
        return Finding("fine", "dynamics", sentence, evidence)
    horizon = max(2, math.ceil(math.log(GROWN) / largest))
    sentence = (
        f"The net is chaotic: its largest Lyapunov exponent is {largest:+.3f} a step, so gradients "
        f"grow a hundredfold every {_steps(found, horizon)} whatever the clip; truncate, or force."
    )
    cures = (
        Cure(f"truncation=Truncation({horizon})", {"truncation": Truncation(horizon)}),
        Cure(
            f"truncation=RandomTruncation({horizon}, 0.5)",
            {"truncation": RandomTruncation(horizon, 0.5)},
        ),
    )
    return Finding("serious", "dynamics", sentence, evidence, cures)


def explosions(found: Measures) -> Finding | None:
    """Say what would have stopped the explosions that were seen in training, or what did."""
    if found.log is None or not (exploded := found.log.explosions):
        return None
    broke = [each for each in exploded if not each.stopped]
    threshold = found.log.suggested_threshold
    clip = float(f"{1.0 if threshold is None else threshold:.2g}")
    evidence: Evidence = {
        "explosions": len(exploded),
        "stopped by clipping": len(exploded) - len(broke),
        "first at update": exploded[0].onset,
        "threshold": threshold,
    }
    if not broke:
        sentence = f"Clipping stopped {_count(len(exploded), 'explosion')} of the gradient."
        return Finding("fine", "training", sentence, evidence)
    advice = (
        "clip at 1, and look again"
        if threshold is None
        else (f"{clip:g} is the highest clipping norm that would have stopped it")
    )
    sentence = f"Training exploded ({_count(len(broke), 'time')}, first at update {broke[0].onset}); {advice}."
    cure = Cure(f"clip={clip:g}", {"clip": clip})
    return Finding("serious", "training", sentence, evidence, (cure,))


def not_finite(found: Measures) -> Finding | None:
    """Name the first tensor that was not finite in training."""
    if found.log is None or found.log.not_finite is None:
        return None
    sentence = f"Training broke: the first tensor that was not finite is {found.log.not_finite}."
    return Finding("serious", "training", sentence, {"tensor": found.log.not_finite})


def busy_clip(found: Measures) -> Finding | None:
    """Say where clipping fires so often that it is a learning rate."""
    if found.log is None or not found.log.clipped_share >= BUSY:
        return None
    share, usual = found.log.clipped_share, found.log.quantiles((0.95,))[0.95]
    sentence = (
        f"Clipping fired in {100 * share:.0f} % of the updates: it sets the length of every step, "
        "as a learning rate would; clip what is rare."
    )
    cure = Cure(f"clip={usual:.2g}", {"clip": float(f"{usual:.2g}")})
    return Finding("note", "training", sentence, {"share": share, "usual norm": usual}, (cure,))


def crooked_clip(found: Measures) -> Finding | None:
    """Say where clipping turns the gradient round, as clipping by value does."""
    looks = [] if found.log is None else found.log.looks
    cosine = min((look.cosine for look in looks if math.isfinite(look.cosine)), default=1.0)
    if cosine >= STRAIGHT:
        return None
    sentence = (
        f"Clipping turns the gradient: the cosine between it before and after is {cosine:.2f} at "
        "worst; clipping by norm keeps its direction."
    )
    usual = found.log.quantiles((0.5,))[0.5] if found.log is not None else 1.0
    cure = Cure(f"clip={usual:.2g}", {"clip": float(f"{usual:.2g}")})
    return Finding("note", "training", sentence, {"cosine": cosine}, (cure,))


def saturation(found: Measures) -> Finding | None:
    """Say where tanh has run into its flat ends; gates that are nearly shut or open may be meant so."""
    shares = [
        (gate.saturation, name, layer.layer, layer.operator)
        for layer in found.layers
        for name, gate in layer.gates.gates.items()
        if gate.kind == "tanh"
    ]
    share, gate, layer, operator = max(shares, default=(0.0, "", "", ""))
    if share < SATURATED:
        return None
    sentence = (
        f"{100 * share:.0f} % of the values of {gate} in {layer} lie in the flat ends of tanh, "
        "where little gradient passes."
    )
    evidence: Evidence = {"layer": layer, "gate": gate, "share": share}
    shrink = L2(1e-3, "weight")
    cures = [Cure(f"penalties={shrink!r}", {"penalties": shrink})]
    if operator == "lstm":
        cures.insert(0, Cure("layer_norm=True", {"layer_norm": True}))
    return Finding("warning", "saturation", sentence, evidence, tuple(cures))


def dead_units(found: Measures) -> Finding | None:
    """Say where ReLU units never fire."""
    layer = max(found.layers, key=lambda each: each.gates.dead_share)
    dead = layer.gates.dead_share
    if dead < DEAD:
        return None
    sentence = f"{100 * dead:.0f} % of the ReLU units in {layer.layer} are dead: 0 at every step."
    cures = (Cure("init=identity()", {"init": identity()}), Cure("a tenth of the learning_rate"))
    return Finding("warning", "dead units", sentence, {"layer": layer.layer, "share": dead}, cures)


def truncation(found: Measures) -> Finding | None:
    """Say how short a truncation the gradient bears."""
    layer = max(found.layers, key=lambda each: each.steps)
    K = layer.truncation_bias.smallest(TOLERATED_BIAS)
    lag = needed(found)
    if K is None or layer.steps < 2 * K or (lag is not None and lag > K):
        return None  # a net that does not see what it needs can be cut anywhere
    sentence = (
        f"Backpropagation may be cut after {_steps(found, K)} of {layer.steps}: the gradient changes "
        f"by less than {100 * TOLERATED_BIAS:.0f} %."
    )
    cure = Cure(f"truncation=Truncation({K})", {"truncation": Truncation(K)})
    return Finding("note", "truncation", sentence, {"layer": layer.layer, "k2": K}, (cure,))


def half_precision(found: Measures) -> Finding | None:
    """Say from which lag on gradients would be zero in float16, for a model that is kept in it."""
    if found.precision != "float16":
        return None
    profile = max((layer.lag_profile for layer in found.layers), key=lambda p: len(p.norms))
    under = [lag for lag, phi in enumerate(profile.norms * profile.newest) if phi < SMALLEST_HALF]
    if not under:
        return None
    sentence = f"In float16 the gradient is zero from {_steps(found, under[0])} back on."
    cure = Cure("model.float(), or torch.bfloat16")
    return Finding("warning", "precision", sentence, {"lag": under[0]}, (cure,))


def skipped(found: Measures) -> Finding | None:
    """Say where the loss does not read the newest step."""
    forward = [layer for layer in found.layers if not layer.layer.endswith("reverse")]
    behind = min((layer.skipped for layer in forward), default=0)
    if not behind:
        return None
    sentence = (
        f"The loss does not read the newest {_steps(found, behind)}; lags count from the newest "
        "that it does."
    )
    return Finding("note", "loss", sentence, {"steps": behind})


RULES: tuple[Rule, ...] = (
    reach,
    window,
    vanishing,
    exploding,
    chaos,
    explosions,
    not_finite,
    busy_clip,
    crooked_clip,
    saturation,
    dead_units,
    truncation,
    half_precision,
    skipped,
)


def _reach_cures(found: Measures, lag: int, share: float) -> tuple[Cure, ...]:
    """Return what brings the gradient further, the best measured one first."""
    layer = max(found.layers, key=lambda each: each.steps)
    cures = _starts(found, layer, want_small=False, lag=lag, share=share)
    if layer.operator.startswith(("lstm", "gru", "layer", "min")):
        return cures
    start = chrono(max(2, lag))
    return *cures, Cure(f'cell="lstm", init={start!r}', {"cell": "lstm", "init": start})


def _starts(
    found: Measures, layer: LayerMeasures, want_small: bool, lag: int = 0, share: float = 0.0
) -> tuple[Cure, ...]:
    """Try the starting points that fit the layer on a copy, and return those that help, best first."""
    kinds: dict[str, list[Init]] = {
        "rnn_tanh": [orthogonal()],
        "rnn_relu": [identity(), orthogonal()],
        "foreign": [],
    }
    gated: list[Init] = [orthogonal()] if want_small else [chrono(max(2, lag))]
    if want_small and layer.operator.startswith("min"):
        gated = []  # it has no U, and contracts by itself
    tried = []
    for start in kinds.get(layer.operator, gated):
        profiles = found.trial(start)
        after = (
            max(_highest(p.norms) for p in profiles) if want_small else furthest(profiles, lag)[0]
        )
        helps = after < GROWN if want_small else after > 3 * share
        if helps and math.isfinite(after):
            effect = f"brings it to {_small(after)}"
            tried.append((after, Cure(f"init={start!r}", {"init": start}, effect)))
    tried.sort(key=lambda pair: pair[0], reverse=not want_small)
    return tuple(cure for _, cure in tried)


def _highest(norms: npt.NDArray[np.float64]) -> float:
    """Return the largest; what is no number counts as infinite."""
    return float(np.nan_to_num(norms, nan=np.inf, posinf=np.inf).max())


def _cycle_or_lag(found: Measures, m: int) -> str:
    if found.need is not None and found.need.cycle == m:
        return f"The data go through a cycle every {_steps(found, m)}"
    return f"The data depend on what was {_steps(found, m)} before"


def _steps(found: Measures, n: int) -> str:
    return _count(n, found.step)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" if n == 1 else f"{n} {thing}s"


def _small(value: float) -> str:
    return f"{value:.1g}" if value < 0.1 else f"{value:.2g}"


def _times(factor: float) -> str:
    return f"{100 * (factor - 1):.0f} %" if factor < 2 else f"{factor:.1f}-fold"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
