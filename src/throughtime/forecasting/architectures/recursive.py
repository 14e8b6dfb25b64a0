"""One step ahead from the state of every step, fed with paths that it draws.

    s_t = f([x_t, a_{t+1}], s_{t-1}),   y_{t+1} ~ head(s_t)      a known ahead

Learned at every step of context and target, each step being given the true value before it. Then n
paths are drawn from the newest state: each draws y_{t+1} and reads it as the next observation, so
that what is uncertain at one step is carried into the next. The mean is never fed back: it would
make every step but the first too sure. Any horizon can be drawn. Salinas, Flunkert, Gasthaus and
Januschowski (2020), "DeepAR".
"""

from __future__ import annotations

import torch
from torch import Tensor

from throughtime.forecasting.architectures.architecture import (
    Architecture,
    Beside,
    HeadOf,
    Inputs,
    Window,
    copies,
    lagged,
    resized,
)
from throughtime.forecasting.preprocessing.differences import differenced
from throughtime.forecasting.preprocessing.residuals import Base
from throughtime.forecasting.series.channels import Sizes
from throughtime.nn import Recurrence


class Recursive(Architecture):
    """From x [B, T, I] to parameters [B, T, M, P] of the step after each; see the module."""

    any_horizon = True

    def __init__(
        self, sizes: Sizes, recurrence: Recurrence, head: HeadOf, h: int, more: int = 0
    ) -> None:
        super().__init__(sizes, recurrence, head, h)
        self.head = head(recurrence.output_size, sizes.targets)
        self.layer = recurrence.build(self.input_size + more)

    @staticmethod
    def lay_out(window: Window, sizes: Sizes, base: Base) -> tuple[Inputs, Tensor]:
        """Read every step but the last, say the step after each."""
        T = window.z.shape[-1] - 1
        r = window.beyond(base, T, 1).squeeze(-1)
        x = _shifted(window.steps(sizes, 0, T), window, sizes, 1, T + 1)
        none = x.new_zeros(*x.shape[:-2], 0, 0)
        return window.inputs(sizes, x, none), r.transpose(-1, -2)

    def forward(self, x: Tensor, *beside: Tensor) -> Tensor:
        """Map x [B, T, I] and what is beside it to parameters [B, T, M, P]; `ahead` is in x."""
        given = Beside(*beside)
        s, _ = self.layer(self.read(x, given.numbers, given.codes))
        return resized(self.head, self.say(s), given.size)

    @torch.no_grad()
    def paths(
        self,
        window: Window,
        base: Base,
        n: int,
        h: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Draw n paths [n, B, M, h] from the end of windows whose covariates go on for h steps.

        On the scale of the windows.
        """
        L, B, head = window.L, len(window.z), self.head
        steps = _shifted(window.steps(self.sizes, 0, L), window, self.sizes, 1, L + 1)
        s, state = self.layer(self.read(steps, window.numbers, window.codes))
        size = None if window.size is None else window.size.repeat(n, 1, 1)
        state, params = copies(state, n), self.say(s[:, -1]).repeat(n, 1, 1)
        z = torch.cat([window.z[..., :L], torch.zeros(B, self.sizes.targets, h)], dim=-1)
        z, static = z.repeat(n, 1, 1), (window.numbers.repeat(n, 1), window.codes.repeat(n, 1))
        for k in range(L, L + h):
            r = head.sample(resized(head, params, size), generator)[0]
            r = r if size is None else r / size[..., 0]
            z[..., k] = base.ahead(z[..., :k], 1)[..., 0] + r
            if k + 1 < L + h:
                read = differenced(z[..., k - sum(window.lags) : k + 1], window.lags)[..., -1]
                x = [read, torch.ones_like(read)][: 1 + self.sizes.mask]
                x.append(window.futr[..., k + 1].repeat(n, 1))
                if window.earlier is not None:
                    earlier = window.earlier.repeat(n, 1, 1)
                    x.append(lagged(earlier, z, window.back, k + 1, k + 2)[:, 0])
                step = self.read(torch.cat(x, dim=-1)[:, None], *static)
                s, state = self.layer(step, state)
                params = self.say(s[:, 0])
        return z[..., L:].reshape(n, B, -1, h)


def _shifted(x: Tensor, window: Window, sizes: Sizes, start: int, stop: int) -> Tensor:
    """Return steps [..., T, I] that read what is known ahead of steps `start` to `stop` instead.

    With lags they read the values so long before these, too.
    """
    if sizes.futr:
        x = torch.cat([x[..., : -sizes.futr], window.futr[..., start:stop].mT], dim=-1)
    if window.earlier is not None:
        x = torch.cat([x, lagged(window.earlier, window.z, window.back, start, stop)], dim=-1)
    return x
