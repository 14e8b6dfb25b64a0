"""Starting points as values: what may be an argument, printed as it is passed, and kept in a file.

    value                     text                  in every layer and cell, by
    orthogonal(gain=1)        "orthogonal:1"        orthogonal_
    orthogonal(kept=True)     "orthogonal:kept"     orthogonal_, then `keep_orthogonal`
    identity(scale=1)         "identity:1"          identity_
    forget_bias(value=1)      "forget_bias:1"       forget_bias_
    chrono(t_max)             "chrono:132"          chrono_

Called with a module, a value sets all recurrent layers and cells inside that it is made for, torch's
or ours. Several go one after the other: `(orthogonal(), forget_bias(1))`, "orthogonal,forget_bias:1".
The equations and their sources stand in `initialisers.py` and `orthogonal.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import nn

from throughtime._checks import real
from throughtime._errors import SettingError
from throughtime.nn.initialisers import (
    FORGETTING,
    GATED,
    WITH_U,
    any_of,
    chrono_,
    describe,
    forget_bias_,
    identity_,
    orthogonal_,
    recurrent_kind,
)
from throughtime.nn.orthogonal import keep_orthogonal

Model = TypeVar("Model", bound=nn.Module)


class Init(ABC):
    """A starting point: call it with a module to set the recurrent layers and cells inside."""

    WANTED: ClassVar[str]

    @property
    def argument(self) -> str:
        """What stands in the brackets, or behind the colon."""
        return ""

    @property
    def text(self) -> str:
        """The same in a word, for a file and the command line."""
        return type(self).__name__ + f":{self.argument}" * bool(self.argument)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.argument})"

    @abstractmethod
    def fits(self, module: nn.Module) -> bool:
        """Say whether it is made for this one layer or cell."""

    @abstractmethod
    def _set(self, module: nn.Module, generator: torch.Generator | None) -> None:
        """Set one layer or cell."""

    def of(self, module: nn.Module) -> list[nn.Module]:
        """Return the layers and cells inside that it is made for; SettingError without any."""
        recurrent = [m for m in module.modules() if recurrent_kind(m) is not None]
        fitting = [m for m in recurrent if self.fits(m)]
        if not fitting:
            found = ", ".join(dict.fromkeys(map(_described, recurrent)))
            others = any(recurrent_kind(m) in WITH_U for m in recurrent)
            instead = ", or init=orthogonal()" if others else ""
            raise SettingError(
                f"{self.WANTED} for {self!r}",
                found or f"{describe(module)} without a recurrent layer",
                f"pass another model{instead}" if found else "pass a recurrent model",
            )
        return fitting

    def __call__(self, module: Model, generator: torch.Generator | None = None) -> Model:
        """Set every layer and cell inside that it is made for, in place, and return the module.

        Random numbers come from `generator`, torch's global one by default. Raises SettingError
        where none fits.
        """
        for each in self.of(module):
            self._set(each, generator)
        return module


# Lower-case classes, as torch.no_grad is: they are called like functions, and print as they are called.


@dataclass(frozen=True, repr=False)
class orthogonal(Init):
    """Every gate's recurrent matrix orthogonal, times `gain`; with `kept`, through all training.

    U_g' U_g = gain^2 identity (`orthogonal_`). `kept` registers `keep_orthogonal`, and wants gain 1.
    Raises SettingError for a gain that is not above 0, or not 1 where it is to be kept.

    >>> orthogonal(), orthogonal(0.9), orthogonal(kept=True)
    (orthogonal(), orthogonal(0.9), orthogonal(kept=True))
    """

    WANTED = "a layer or cell with a recurrent matrix"
    gain: float = 1.0
    kept: bool = False

    def __post_init__(self) -> None:
        real("gain", self.gain, above=0, below=float("inf"))
        if not isinstance(self.kept, bool):
            raise SettingError("kept to be True or False", repr(self.kept), "pass kept=True")
        if self.kept and self.gain != 1:
            remedy = "leave gain out, or pass kept=False"
            raise SettingError("gain=1 for what is kept orthogonal", f"gain={self.gain:g}", remedy)

    @property
    def argument(self) -> str:
        """The gain, if it is not 1."""
        return "" if self.gain == 1 else _number(self.gain)

    @property
    def text(self) -> str:
        """The same in a word, for a file and the command line."""
        return "orthogonal:kept" if self.kept else super().text

    def __repr__(self) -> str:
        return "orthogonal(kept=True)" if self.kept else super().__repr__()

    def fits(self, module: nn.Module) -> bool:
        """It is made for layers and cells that have recurrent matrices."""
        return recurrent_kind(module) in WITH_U

    def _set(self, module: nn.Module, generator: torch.Generator | None) -> None:
        orthogonal_(module, self.gain, generator)
        if self.kept:
            keep_orthogonal(module)


@dataclass(frozen=True, repr=False)
class identity(Init):
    """A ReLU RNN as an accumulator: U = scale * identity, all biases zero (`identity_`).

    Raises SettingError for a scale that is not above 0.

    >>> identity()(nn.RNN(1, 2, nonlinearity="relu")).weight_hh_l0.tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    WANTED = "an RNN with nonlinearity='relu'"
    scale: float = 1.0

    def __post_init__(self) -> None:
        real("scale", self.scale, above=0, below=float("inf"))

    @property
    def argument(self) -> str:
        """The scale, if it is not 1."""
        return "" if self.scale == 1 else _number(self.scale)

    def fits(self, module: nn.Module) -> bool:
        """It is made for vanilla layers and cells with ReLU."""
        return recurrent_kind(module) == "rnn" and getattr(module, "nonlinearity", None) == "relu"

    def _set(self, module: nn.Module, generator: torch.Generator | None) -> None:
        identity_(module, self.scale)


@dataclass(frozen=True, repr=False)
class forget_bias(Init):
    """An LSTM's forget gates open at the start: b_f = value (`forget_bias_`).

    Raises SettingError for a value that is no finite number.

    >>> forget_bias()
    forget_bias(1)
    """

    WANTED = f"{any_of(FORGETTING)} with biases"
    value: float = 1.0

    def __post_init__(self) -> None:
        real("value", self.value, above=-float("inf"), below=float("inf"))

    @property
    def argument(self) -> str:
        """The bias."""
        return _number(self.value)

    def fits(self, module: nn.Module) -> bool:
        """It is made for LSTM layers and cells that have biases, and for the MinLSTM."""
        return recurrent_kind(module) in FORGETTING and bool(module.bias)

    def _set(self, module: nn.Module, generator: torch.Generator | None) -> None:
        forget_bias_(module, self.value)


@dataclass(frozen=True, repr=False)
class chrono(Init):
    """The memory of gated units spread over 1 to `t_max` steps: b_f ~ log U(1, t_max - 1) (`chrono_`).

    In a layer of dilation d, whose steps are d steps of the series, t_max / d, or 2 if that is less.
    Raises SettingError for a t_max below 2.

    >>> chrono(132), chrono(132).text
    (chrono(132), 'chrono:132')
    >>> chrono(100)(nn.RNN(1, 2))
    Traceback (most recent call last):
    throughtime._errors.SettingError: Expected an LSTM, a GRU, a MinLSTM or a MinGRU with biases for chrono(100), found RNN with nonlinearity='tanh': pass another model, or init=orthogonal().
    """

    WANTED = f"{any_of(GATED)} with biases"
    t_max: float

    def __post_init__(self) -> None:
        real("t_max", self.t_max, at_least=2, below=float("inf"))

    @property
    def argument(self) -> str:
        """The longest time scale."""
        return _number(self.t_max)

    def fits(self, module: nn.Module) -> bool:
        """It is made for gated layers and cells that have biases."""
        return recurrent_kind(module) in GATED and bool(module.bias)

    def _set(self, module: nn.Module, generator: torch.Generator | None) -> None:
        dilation = getattr(module, "dilation", 1)
        chrono_(module, max(2.0, self.t_max / dilation), generator)


INITS: dict[str, type[Init]] = {
    each.__name__: each for each in (orthogonal, identity, forget_bias, chrono)
}
Inits = Init | str | Sequence[Init | str] | None


def read_inits(value: Inits) -> tuple[Init, ...]:
    """Return starting points in order, from values, their texts, or several of either.

    Raises SettingError for anything else.

    >>> read_inits("orthogonal:kept, chrono:132")
    (orthogonal(kept=True), chrono(132))
    >>> read_inits(None)
    ()
    """
    if value is None:
        return ()
    if isinstance(value, Init):
        return (value,)
    if isinstance(value, str):
        return tuple(map(_read_one, value.split(",")))
    if isinstance(value, (tuple, list)):
        return tuple(init for each in value for init in read_inits(each))
    raise _unknown(repr(value))


def _read_one(text: str) -> Init:
    name, _, argument = text.strip().partition(":")
    if name not in INITS:
        raise _unknown(repr(text.strip()))
    if (name, argument) == ("orthogonal", "kept"):
        return orthogonal(kept=True)
    if name == "chrono" and not argument:
        wanted = "init='chrono' with the longest dependence in steps"
        raise SettingError(wanted, repr(text.strip()), "pass for example init='chrono:132'")
    try:
        return INITS[name](*([float(argument)] if argument else []))
    except ValueError as error:
        if isinstance(error, SettingError):
            raise
        raise _unknown(repr(text.strip())) from None


def _unknown(found: str) -> SettingError:
    return SettingError(
        "init to be orthogonal, orthogonal:kept, identity, forget_bias or chrono:T",
        found,
        "pass one of them, as a text or as the value of throughtime.nn",
    )


def _described(module: nn.Module) -> str:
    return describe(module) + ("" if module.bias else " with bias=False")


def _number(value: float) -> str:
    """Return the shortest text that is read back as the same number."""
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
