"""Run the pages beside this file, write what they print into them, and draw their pictures.

Each picture shows the numbers that its page computed: it is drawn from the names that are left when
the page's code has run. Run with `python docs/learn/pictures.py`.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch

from drawing import (
    GRID,
    INK,
    LESS,
    LEVEL,
    MINUS,
    MORE,
    QUIET,
    TIMES,
    TITLE,
    Panel,
    arrow_back,
    blend,
    curve,
    line,
    page,
    text,
)
from throughtime._files import write_atomically

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images"
_BLOCK = re.compile(r"^```python\n(.*?)^```\n(\n```text\n.*?^```\n)?", re.MULTILINE | re.DOTALL)

Names = dict[str, Any]


def run(source: str) -> tuple[str, Names]:
    """Run a page's code; return the page with what it prints in it, and the names that are left."""
    names: Names = {"__name__": "page"}

    def fill(block: re.Match[str]) -> str:
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(block[1], names)
        shown = "\n".join(row.rstrip() for row in printed.getvalue().splitlines())
        return f"```python\n{block[1]}```\n" + (f"\n```text\n{shown}\n```\n" if shown else "")

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _BLOCK.sub(fill, source), names
    finally:
        torch.set_num_threads(threads)


# --- how a gradient vanishes, and how it explodes ------------------------------------------------

KINDS = ((LESS, "vanishes"), (LEVEL, "keeps its size"), (MORE, "explodes"))


def vanishing(names: Names) -> str:
    """Draw three unrolled nets, the gradient's size on every arrow back."""
    profiles, steps, row, left, apart = names["profiles"], 10, 152, 150, 74
    parts = [
        text(28, 36, "One loss, ten steps back: the size of the gradient on every arrow", "title"),
        text(
            28,
            58,
            "grey: what the net computed; in colour: the gradient on its way back, as a multiple of the newest",
        ),
    ]
    for i, ((gain, profile), (colour, word)) in enumerate(
        zip(profiles.items(), KINDS, strict=True)
    ):
        y = 150 + i * row
        parts += [
            text(28, y - 2, f"gain {gain:g}", "strong"),
            text(28, y + 16, word, colour=colour),
            *unrolled(profile.norms[: steps + 1], left, y, apart, colour),
        ]
    width, height = left + (steps + 1) * apart + 40, 150 + 3 * row - 62
    return page(width, height, "The gradient on every arrow of three unrolled nets", parts)


def unrolled(norms: Any, left: float, y: float, apart: float, colour: str) -> list[str]:
    """Draw one net, its newest step at the right, with the loss behind it."""
    steps, half, radius = len(norms) - 1, 19, 14
    parts = []
    for lag in range(steps, -1, -1):
        x = left + (steps - lag) * apart
        name = "h<tspan dy='3' font-size='9'>t" + (f"{MINUS}{lag}" if lag else "") + "</tspan>"
        parts += [
            line(x, y + 42, x, y + radius + 6, QUIET, 1.4),
            f'<path d="M{x - 3.5:.1f} {y + radius + 8} l3.5 -7 l3.5 7 z" fill="{QUIET}"/>',
            text(x, y + 54, "x", "small", "middle", QUIET),
            line(x + half, y, x + apart - half - 6, y, QUIET, 1.4),
            f'<path d="M{x + apart - half - 8:.1f} {y - 3.5} l7 3.5 l-7 3.5 z" fill="{QUIET}"/>',
            f'<rect x="{x - half:.1f}" y="{y - radius}" width="{2 * half}" height="{2 * radius}" '
            f'rx="{radius}" fill="#fff" stroke="{INK}" stroke-width="1.4"/>',
            text(x, y + 4, name, "small", "middle", TITLE),
        ]
        width = min(13.0, max(0.5, 3.2 * 2 ** math.log10(norms[lag])))
        shade = blend(min(1, 0.25 + width / 4), "#ffffff", colour)
        parts += [
            arrow_back(x + apart - 9, x + 9, y - radius - 1, width, shade),
            text(x + apart / 2, y - 40 - width / 2, short(norms[lag]), "number", "middle", colour),
        ]
    x = left + (steps + 1) * apart
    parts += [
        f'<rect x="{x - half:.1f}" y="{y - radius}" width="{2 * half}" height="{2 * radius}" '
        f'rx="6" fill="{TITLE}"/>',
        text(x, y + 4.5, "L", "strong", "middle", "#ffffff"),
    ]
    return parts


def short(value: float) -> str:
    """Return two significant digits, without an exponent."""
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}"


def vanishing_far(names: Names) -> str:
    """Draw the three profiles over all steps."""
    panel = Panel((80, 84), (640, 300), (0, 60), (1e-20, 1e15))
    ticks = [10.0**k for k in range(-20, 16, 5)]
    parts = [
        text(28, 36, "Sixty steps back: a factor a step is a straight line", "title"),
        text(28, 60, "size of the gradient, as a multiple of the newest"),
        *panel.frame(ticks, range(0, 61, 10), "steps back"),
    ]
    for (gain, profile), (colour, word) in zip(names["profiles"].items(), KINDS, strict=True):
        values = profile.norms[:60].tolist()
        parts.append(panel.graph(values, colour))
        x, y = panel.at(59, values[-1])
        parts += [
            text(x + 10, y - 2, f"gain {gain:g} {word}", "strong", colour=colour),
            text(x + 10, y + 15, f"{TIMES} {profile.decay:.2f} a step"),
        ]
    return page(900, 440, "The profiles of three nets over sixty steps", parts)


# --- why the spectral radius misleads ------------------------------------------------------------

SCALES = ("#7fc4e8", "#1f8fd6", "#14507f")  # the larger the inputs, the darker


def spectral_radius(names: Names) -> str:
    """Draw what powers of a matrix do to a circle, and where tanh takes what U keeps."""
    parts = [
        text(28, 36, "Spectral radius 0.9, and it grows", "title"),
        text(28, 58, "what U, U³, U⁹, U³⁰ make of a circle"),
        *ellipses(names["U"]),
        text(28, 330, "size of the gradient after k steps"),
        *growth(names),
        line(470, 24, 470, 640, GRID),
        text(500, 36, "Spectral radius 1, and it vanishes", "title"),
        text(500, 58, "the slope of tanh, and where nine of ten units sit on it"),
        *slopes(names["levels"]),
        text(500, 330, "size of the gradient after k steps"),
        *contraction(names["levels"]),
    ]
    return page(960, 664, "Why the spectral radius misleads", parts)


def ellipses(U: Any) -> list[str]:
    """Draw the unit circle under powers of U, one below the other."""
    angles = torch.linspace(0, 2 * math.pi, 97, dtype=U.dtype)
    circle = torch.stack([angles.cos(), angles.sin()])
    parts = []
    for row, k in enumerate((0, 1, 3, 9, 30)):
        y, unit = 92 + 46 * row, 8.0
        image = (torch.linalg.matrix_power(U, k) @ circle * unit).T.tolist()
        points = " ".join(f"{236 + a:.1f},{y - b:.1f}" for a, b in image)
        longest = torch.linalg.matrix_norm(torch.linalg.matrix_power(U, k), 2).item()
        parts += [
            text(44, y + 4, f"k = {k}", "strong"),
            f'<polygon points="{points}" fill="{blend(0.18, "#ffffff", MORE)}" stroke="{MORE}" '
            'stroke-width="1.6" stroke-linejoin="round"/>',
            text(440, y + 4, f"{TIMES} {longest:.1f}", anchor="end"),
        ]
    return parts


def growth(names: Names) -> list[str]:
    """Draw the measured gradient beside the norm of the powers and those of the radius."""
    panel = Panel((80, 352), (360, 240), (0, 60), (1e-3, 100))
    radius = [0.9**k for k in range(61)]
    measured = names["profile_of_U"].norms.tolist()
    peak = measured.index(max(measured))
    x, y = panel.at(peak, measured[peak])
    return [
        *panel.frame([10.0**k for k in range(-3, 3)], range(0, 61, 20), "steps back, k"),
        panel.graph(radius, INK, "5 4"),
        panel.graph(measured, MORE),
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{MORE}"/>',
        text(
            x + 8,
            y - 8,
            f"measured: {measured[peak]:.1f} at k = {peak}",
            "strong",
            colour=MORE,
        ),
        text(panel.at(26, 1)[0], panel.at(26, 0.9**26)[1] + 34, "0.9ᵏ: what the", anchor="end"),
        text(panel.at(26, 1)[0], panel.at(26, 0.9**26)[1] + 50, "radius promises", anchor="end"),
    ]


def slopes(levels: dict[float, Any]) -> list[str]:
    """Draw the slope of tanh, and below it the middle nine tenths of the units at each scale."""
    left, top, width, height, reach = 540, 84, 380, 110, 3.5

    def across(a: float) -> float:
        return left + width * (a + reach) / (2 * reach)

    grid = [k * reach / 60 for k in range(-60, 61)]
    bell = [(across(a), top + height * math.tanh(a) ** 2) for a in grid]
    parts = [line(left, top + height, left + width, top + height, QUIET), curve(bell, INK, 2)]
    parts += [
        text(left - 8, top + 4, "1", anchor="end"),
        text(left - 8, top + height + 4, "0", anchor="end"),
    ]
    for row, ((scale, (_, h)), colour) in enumerate(zip(levels.items(), SCALES, strict=True)):
        ends = torch.quantile(torch.atanh(h.flatten()[::7]), torch.tensor([0.05, 0.95]).to(h))
        low, high = (across(max(-reach, min(reach, float(end)))) for end in ends)
        y = top + height + 22 + 24 * row
        parts += [
            f'<rect x="{low:.1f}" y="{y - 6}" width="{high - low:.1f}" height="12" rx="6" '
            f'fill="{colour}"/>',
            text(left + width, y + 4, f"mean slope {(1 - h**2).mean():.3f}", "small", "end"),
            text(left - 8, y + 4, f"{scale:g}", anchor="end", colour=colour),
        ]
    parts.append(text(left - 8, top + height + 22 + 72, "inputs", "small", "end"))
    return parts


def contraction(levels: dict[float, Any]) -> list[str]:
    """Draw the measured gradients of the orthogonal net."""
    panel = Panel((560, 352), (360, 240), (0, 100), (1e-5, 3))
    parts = [
        *panel.frame([10.0**k for k in range(-5, 1)], range(0, 101, 25), "steps back, k"),
        panel.graph([1.0] * 101, INK, "5 4"),
        text(
            panel.at(100, 1)[0], panel.at(0, 1)[1] - 7, "1ᵏ: what the radius promises", anchor="end"
        ),
    ]
    for (scale, (profile, _)), colour in zip(levels.items(), SCALES, strict=True):
        values = profile.norms.tolist()
        parts.append(panel.graph(values, colour))
        k = min(72, max(k for k, value in enumerate(values) if value > 2e-5))
        x, y = panel.at(k, values[k])
        parts.append(
            text(x + 4, y + (18 if scale < 1 else -8), f"inputs {scale:g}", "strong", colour=colour)
        )
    return parts


# --- what the gates change -----------------------------------------------------------------------

FAINTEST = 1e-4


def gates(names: Names) -> str:
    """Draw each net as a bar as dark as the gradient is large, its memory marked."""
    left, top, width, row = 190, 96, 620, 36
    profiles = names["profiles"]
    parts = [
        text(
            28, 36, "How far back the loss of the newest step reaches, before any training", "title"
        ),
        text(28, 60, "The darker, the larger the gradient."),
        scale_of_colours(300, 60),
        line(584, 48, 584, 64, MORE, 3),
        text(594, 60, "1 % is left: the net's memory"),
    ]
    for i, (name, profile) in enumerate(profiles.items()):
        y = top + i * row
        lags = range(0, len(profile.norms), 2)
        stops = "".join(
            f'<stop offset="{lag / (len(profile.norms) - 1):.3f}" '
            f'stop-color="{blend(shade(profile.norms[lag]))}"/>'
            for lag in lags
        )
        parts += [
            f'<linearGradient id="g{i}">{stops}</linearGradient>',
            text(left - 14, y + 16, name, "strong", "end"),
            f'<rect x="{left}" y="{y}" width="{width}" height="24" rx="4" fill="url(#g{i})"/>',
            *memory(profile, left, y, width),
        ]
    bottom = top + len(profiles) * row
    for lag in range(0, 201, 50):
        x = left + width * lag / 200
        parts.append(line(x, bottom - 8, x, bottom - 2, QUIET))
        parts.append(text(x, bottom + 14, str(lag), anchor="middle"))
    parts.append(text(left + width / 2, bottom + 34, "steps back", anchor="middle"))
    return page(900, bottom + 52, "How far back nine recurrent nets reach", parts)


def shade(norm: float) -> float:
    """Return 1 for the whole gradient, 0 for a ten-thousandth and less."""
    return max(0.0, min(1.0, 1 - math.log(max(norm, FAINTEST)) / math.log(FAINTEST)))


def scale_of_colours(x: float, y: float) -> str:
    """Return the colours from all of the gradient to nearly nothing."""
    stops = "".join(
        f'<stop offset="{k / 10}" stop-color="{blend(1 - k / 10)}"/>' for k in range(11)
    )
    return "\n".join(
        [
            f'<linearGradient id="scale">{stops}</linearGradient>',
            f'<rect x="{x + 22}" y="{y - 11}" width="150" height="14" rx="3" fill="url(#scale)"/>',
            text(x + 14, y, "1", anchor="end"),
            text(x + 180, y, "0.0001"),
        ]
    )


def memory(profile: Any, left: float, y: float, width: float) -> list[str]:
    """Return the mark at the memory, and its words."""
    if profile.memory is None:
        return [
            text(
                left + width - 8, y + 16, f"{short(profile.norms[-1])} left", "small", "end", "#fff"
            )
        ]
    x = left + width * profile.memory / 200
    words = f"{profile.memory} steps"
    return [line(x, y - 2, x, y + 26, MORE, 3), text(x + 8, y + 16, words, "number", colour=MORE)]


PICTURES: dict[str, tuple[str, Callable[[Names], str]]] = {
    "learn-vanishing.svg": ("vanishing.md", vanishing),
    "learn-vanishing-far.svg": ("vanishing.md", vanishing_far),
    "learn-spectral-radius.svg": ("spectral-radius.md", spectral_radius),
    "learn-gates.svg": ("gates.md", gates),
}


def main() -> None:
    """Write every page and every picture anew."""
    ran: dict[str, Names] = {}
    for name in dict.fromkeys(name for name, _ in PICTURES.values()):
        source = (HERE / name).read_text(encoding="utf-8")
        shown, ran[name] = run(source)
        write_atomically(HERE / name, shown)
    for picture, (name, draw) in PICTURES.items():
        write_atomically(IMAGES / picture, draw(ran[name]))
        print(f"written to {IMAGES / picture}")


if __name__ == "__main__":
    main()
