"""A diagnosis as `Diagnosis.to_dict()` returns it: two layers on monthly data with a cycle of 132."""

from __future__ import annotations

import math
import random


def profile(T: int, decay: float, bump: float = 0.0) -> dict:
    norms = [
        decay**lag * (1 + bump * math.cos(2 * math.pi * lag / 12)) / (1 + bump) for lag in range(T)
    ]
    return {
        "lags": list(range(T)),
        "norms": norms,
        "newest": 0.012,
        "decay": decay,
        "half_life": math.log(2) / -math.log(decay),
        "memory": next((lag for lag, v in enumerate(norms) if v < 0.01), None),
    }


def gate(kind: str, mean: float, low: float, high: float) -> dict:
    return {"kind": kind, "mean": mean, "quantiles": [0.05, 0.3, mean, 0.7, 0.9], "low": low} | {
        "high": high,
        "units": [mean] * 5,
        "saturation": low + high,
    }


def jacobians(T: int, decay: float) -> dict:
    lags = [1, 2, 4, 8, 16, 32, 64, T]
    wave = [math.sin(2 * math.pi * t / 12) for t in range(1, T + 1)]
    return {
        "steps": list(range(1, T + 1)),
        "largest": [1.3 + 0.15 * w for w in wave],
        "smallest": [0.02 + 0.008 * w for w in wave],
        "radius": [decay + 0.05 * w for w in wave],
        "lags": lags,
        "log10_long_largest": [0.3 + lag * math.log10(decay) for lag in lags],
        "log10_long_condition": [min(12.0, 0.8 * lag) if lag < 64 else None for lag in lags],
    }


def layer(name: str, decay: float, T: int = 120) -> dict:
    lengths = [2**k for k in range(7)]
    return {
        "layer": name,
        "operator": "lstm",
        "steps": T,
        "units": 32,
        "examples": 64,
        "lag_profile": profile(T + 1, decay, 0.25),
        "jacobians": jacobians(T, decay),
        "lyapunov": {
            "exponents": [math.log(decay) - 0.08 * k**1.2 for k in range(31)] + [None],
            "error": 0.02,
            "verdict": "contracting",
            "dimension": 0.0,
        },
        "gates": {
            "operator": "lstm",
            "gates": {
                "i": gate("sigmoid", 0.42, 0.08, 0.02),
                "f": gate("sigmoid", 0.71, 0.01, 0.31),
                "g": gate("tanh", 0.05, 0.12, 0.15),
                "o": gate("sigmoid", 0.38, 0.2, 0.03),
                "tanh(c)": gate("tanh", -0.02, 0.02, 0.03),
            },
            "time_constants": [1.1, 2.0, 2.9, 4.4, 8.0],
            "longest": 9.3,
            "dead_share": 0.0,
            "linear_share": 0.0,
        },
        "truncation_bias": {
            "lengths": lengths,
            "bias": [0.9 * decay ** (1.1 * K) for K in lengths],
            "predicted": [decay**K for K in lengths],
        },
    }


def log(T: int = 120, updates: int = 200) -> dict:
    """A training that begins with gradients that die out fast, explodes, and learns to look back."""
    dice, threshold = random.Random(3), 1.0
    norms, looks = [], []
    for index in range(updates):
        size = (2.2 * math.exp(-index / 90) + 0.25) * math.exp(dice.gauss(0, 0.3))
        norms.append(size * (9 if index in (36, 37, 89, 150) else 1))
    for index in range(0, updates, 4):
        decay = 0.80 + 0.16 / (1 + math.exp(-(index - 90) / 22)) + dice.gauss(0, 0.003)
        lags = range(T, -1, -1)  # the newest step comes last
        profile = [
            0.02 * decay**lag * (1 + 0.2 * math.cos(math.pi * lag / 6)) / 1.2 for lag in lags
        ]
        above = [0.02 * (v / 0.02) ** 0.6 for v in profile]
        profiles = {"layer.l0": profile, "layer.l1": above}
        looks.append({"index": index, "cosine": 1.0, "norms": {}, "profiles": profiles})
    ordered = sorted(norms)
    return {
        "every": 4,
        "updates": list(range(updates)),
        "losses": [0.5] * updates,
        "norms": norms,
        "thresholds": [threshold] * updates,
        "fired": [norm > threshold for norm in norms],
        "looks": looks,
        "not_finite": None,
        "clipped_share": sum(norm > threshold for norm in norms) / updates,
        "quantiles": {f"{q:g}": ordered[int(q * updates)] for q in (0.05, 0.5, 0.95)},
        "explosions": [
            {"onset": 36, "shown": 37, "norm": norms[36], "usual": 1.6, "threshold": 1.8}
        ],
        "suggested_threshold": 1.8,
    }


def need() -> dict:
    found = [(1, 0.97, "partial autocorrelation"), (2, 0.2, "partial autocorrelation")]
    found += [(9, 0.12, "partial autocorrelation"), (132, 0.61, "cycle")]
    lags = [{"lag": a, "strength": s, "evidence": e, "feature": None} for a, s, e in found]
    return {"longest": 132, "cycle": 132, "lags": lags}


def findings() -> list[dict]:
    return [
        {
            "severity": "serious",
            "topic": "vanishing",
            "sentence": "The cycle is 132 months; the gradient that reaches 120 months back is 1e-8 of "
            "the newest one: this net cannot learn it.",
            "evidence": {"cycle": 132, "gradient at 120": 1.2e-8, "memory": 29},
            "cures": [
                {"argument": "init=tt.nn.chrono(132)", "effect": "brings it to 0.4"},
                {"argument": "context_length=264", "effect": ""},
            ],
        },
        {
            "severity": "warning",
            "topic": "exploding",
            "sentence": "The norm of the gradient was more than eight times its median at 4 of 200 "
            "updates.",
            "evidence": {"largest over median": 14.2, "clipped": 0.21},
            "cures": [{"argument": "clip=1.8", "effect": "would have stopped all four"}],
        },
        {
            "severity": "note",
            "topic": "saturation",
            "sentence": "31 % of the forget gate's values are stuck open.",
            "evidence": {"share": 0.31},
            "cures": [],
        },
        {
            "severity": "fine",
            "topic": "chaos",
            "sentence": "The net contracts: no change of its state grows for good.",
            "evidence": {"largest exponent": -0.116},
            "cures": [],
        },
    ]


def diagnosis(layers: int = 2) -> dict:
    names = (("layer.l0", 0.89), ("layer.l1", 0.94))[:layers]
    found = log()
    for look in found["looks"]:
        look["profiles"] = {name: look["profiles"][name] for name, _ in names}
    return {
        "model": "SequenceInput",
        "step": "month",
        "precision": "float32",
        "layers": [layer(name, decay) for name, decay in names],
        "need": need(),
        "log": found,
        "findings": findings(),
    }
