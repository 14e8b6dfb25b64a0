"""What both estimators share: their settings, how they learn, what they keep.

    E nets, each from its own seed, on standardised sequences (`sequences.py`)
    1. each leaves a fold out (`folds.py`); the number of updates at which the mean validation loss
       was least is kept
    2. all nets anew on everything, for that many updates
    p = mean over the nets of softmax(o)

The loss is the cross-entropy of the labels that are observed, so rare classes count as often as they
come, and probabilities are those of the data. With class_weight="balanced" a label of class k weighs
n / (K n_k), as if all K classes were equally frequent; a dict gives weights by label.

The settings of both, each a keyword:

    cell, hidden_size, num_layers, dropout   what the nets are made of (`nn.Recurrence`)
    bidirectional                            read both ways; where None, the classifier does
    init, nonlinearity, recurrent_dropout, zoneout, state_grad_clip, layer_norm
                                             cures for gradients that vanish or explode, as there
    members                                  E, how many nets
    class_weight                             None, "balanced" or a dict, see above
    training                                 TrainingSettings; max_updates is the most
    clip, penalties                          in place of those in `training`, where given
    seed                                     of folds, weights and batches: the same bits every time

The estimators follow scikit-learn's conventions, and do not need it: the constructor keeps what it is
given, `fit` checks it, what was learned has names that end in an underscore.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from throughtime._checks import one_of, positive_int, random_seed, real
from throughtime._errors import NotFittedError, SettingError
from throughtime._types import CellName, model_name
from throughtime.diagnostics import Diagnosis, GradientLog, Watch, diagnose
from throughtime.estimators.folds import MemberExamples, everything, leave_one_fold_out
from throughtime.estimators.labels import NOT_OBSERVED, Array, as_list
from throughtime.estimators.sequences import Features, Padded, Sequences, chunks, read_sequences
from throughtime.nn import ClassHead, Ensemble, Recurrence, SequenceInput, SyncedSequence
from throughtime.nn.recurrence import Nonlinearity
from throughtime.nn.starting_points import Inits
from throughtime.training import Clip, Clipping, History, Trainer, TrainingSettings, losses
from throughtime.training.context import threads
from throughtime.training.penalties import Penalty

if TYPE_CHECKING:
    from typing_extensions import Self

Floats = npt.NDArray[np.float64]
ClassWeight = Literal["balanced"] | Mapping[Any, float] | None

TRAINING = TrainingSettings(
    max_updates=600,
    batch_size=32,
    learning_rate=5e-3,
    warm_up=10,
    weight_decay=0.01,
    clip=Clip(norm=1.0),
    evaluate_every=10,
    patience=10,
    average=0.95,
)
OF_THE_NET = (
    "cell",
    "hidden_size",
    "num_layers",
    "dropout",
    "nonlinearity",
    "recurrent_dropout",
    "zoneout",
    "state_grad_clip",
    "layer_norm",
    "init",
)
LOOKS = 30  # at the gradient over time in the final fit
MOST_EXAMINED = 64  # sequences that `diagnose` looks at
AT_ONCE = 1024  # sequences that are answered at a time


class SequenceEstimator(ABC):
    """Settings and training; a subclass says what it reads and what it answers."""

    shape: ClassVar[type[SequenceInput] | type[SyncedSequence]]
    reads_both_ways: ClassVar[bool]  # where `bidirectional` is None
    estimator_type: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        cell: CellName = "gru",
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool | None = None,
        members: int = 5,
        class_weight: ClassWeight = None,
        init: Inits = (),
        nonlinearity: Nonlinearity | None = None,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        state_grad_clip: float = 0.0,
        layer_norm: bool = False,
        clip: Clipping | float | None = None,
        penalties: Penalty | Sequence[Penalty] = (),
        training: TrainingSettings = TRAINING,
        seed: int = 0,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.members = members
        self.class_weight = class_weight
        self.init = init
        self.nonlinearity = nonlinearity
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = zoneout
        self.state_grad_clip = state_grad_clip
        self.layer_norm = layer_norm
        self.clip = clip
        self.penalties = penalties
        self.training = training
        self.seed = seed

    classes_: Array
    n_features_in_: int
    features_: Features
    network_: Ensemble
    history_: History
    pilot_: History
    log_: GradientLog | None

    @classmethod
    def _settings(cls) -> list[str]:
        return [name for name in signature(cls).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as they were given; none of them has settings of its own."""
        return {name: getattr(self, name) for name in self._settings()}

    def set_params(self, **params: Any) -> Self:
        """Change settings by name for the next `fit`; SettingError for one that there is not."""
        for name in params:
            if name not in self._settings():
                raise SettingError(
                    f"a setting of {type(self).__name__} ({', '.join(self._settings())})",
                    repr(name),
                    "pass one of these",
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: each.default for name, each in signature(type(self)).parameters.items()}
        given = self.get_params().items()
        told = [f"{name}={value!r}" for name, value in given if value != defaults[name]]
        return f"{type(self).__name__}({', '.join(told)})"

    def diagnose(self, X: Any, y: Any, *, step: str = "step") -> Diagnosis:
        """Say how far back the first net's gradients reach, what is wrong, and which argument helps.

        Measured on (at most 64 of) these sequences; what training looked like belongs to it. `step`
        is the word for a time step, such as "month". Raises as `predict` and `score` do.
        """
        sequences = self._read(X)
        codes = self._codes(sequences, y)
        chosen = np.unique(np.linspace(0, len(codes) - 1, MOST_EXAMINED).astype(np.int64)).tolist()
        some = Sequences(tuple(sequences.rows[i] for i in chosen), sequences.as_array)
        padded = self.features_.inputs(some)
        inputs = padded.x if padded.lengths is None else (padded.x, padded.lengths)
        targets = self._targets(some, [codes[i] for i in chosen])
        last = torch.arange(len(some)), torch.tensor(some.lengths) - 1

        def newest(steps: Tensor) -> Tensor:
            return steps[last] if targets.dim() == 3 else steps

        return diagnose(
            self.network_.member(0),
            inputs,
            newest(targets),
            losses.cross_entropy,
            output=newest,
            log=self.log_,
            name=f"the {model_name(self.cell)}",
            step=step,
        )

    @abstractmethod
    def _targets(self, sequences: Sequences, codes: Sequence[Any]) -> Tensor:
        """Return the codes of all sequences as targets [n, ..., 1]."""

    @abstractmethod
    def _codes(self, sequences: Sequences, y: Any) -> list[Any]:
        """Return the codes of labels that belong to these sequences."""

    def _learn(
        self, sequences: Sequences, codes: Sequence[Any], strata: Sequence[int], classes: Array
    ) -> None:
        """Fit the nets, and take over what came of it when all went well."""
        training = self._checked_training()
        members = positive_int("members", self.members)
        size = self._recurrence().output_size  # which checks the settings of the nets
        features, targets = Features.of(sequences), self._targets(sequences, codes)
        padded = features.inputs(sequences)
        loss = _loss(self._weights(targets, classes))

        def part(rows: Tensor) -> MemberExamples:
            return MemberExamples(padded, targets, rows)

        def nets() -> Ensemble:
            return self._network(features, len(classes))

        generator = torch.Generator().manual_seed(training.seed)
        learn, held = leave_one_fold_out(strata, members, generator)
        with threads(members * (training.batch_size or len(codes)) * size):
            pilot, updates = History(reason="too few sequences for a validation part"), 0
            if held.numel():
                trainer = Trainer(nets(), loss, training)
                pilot = _whole(trainer.fit(part(learn), part(held), name="validation"))
                updates = pilot.best_index or 0
            updates = updates or max(1, training.max_updates // 4)
            watch, network = Watch(every=max(1, updates // LOOKS)), nets()
            last = replace(training, max_updates=updates, patience=None)
            rows = everything(len(codes), members)
            history = _whole(
                Trainer(network, loss, last, [watch]).fit(part(rows), name="final fit")
            )
        self._take(classes, features, network, (history, pilot, watch.log))

    def _take(
        self,
        classes: Array,
        features: Features,
        network: Ensemble,
        course: tuple[History, History, GradientLog | None],
    ) -> None:
        self.classes_, self.features_, self.network_ = classes, features, network.eval()
        self.n_features_in_ = len(features.mean)
        self.history_, self.pilot_, self.log_ = course

    def _checked_training(self) -> TrainingSettings:
        if not isinstance(self.training, TrainingSettings):
            raise SettingError(
                "training to be TrainingSettings", repr(self.training), "pass such settings"
            )
        changes: dict[str, Any] = {"seed": random_seed("seed", self.seed)}
        if self.clip is not None:
            is_norm = not isinstance(self.clip, Clipping)
            changes["clip"] = Clip(norm=real("clip", self.clip, above=0)) if is_norm else self.clip
        if self.penalties != ():
            given: Any = self.penalties
            changes["penalties"] = tuple(given) if isinstance(given, Sequence) else (given,)
        return replace(self.training, **changes)

    def _recurrence(self) -> Recurrence:
        both_ways = self.reads_both_ways if self.bidirectional is None else self.bidirectional
        one_of("bidirectional", both_ways, [False, True])
        given = {name: getattr(self, name) for name in OF_THE_NET}
        return Recurrence(bidirectional=both_ways, **given)

    def _network(self, features: Features, K: int) -> Ensemble:
        recurrence = self._recurrence()
        size = recurrence.output_size
        return Ensemble(
            lambda: self.shape(features.size, recurrence, ClassHead(size, K)),
            positive_int("members", self.members),
            self.seed,
        )

    def _weights(self, targets: Tensor, classes: Array) -> Tensor | None:
        """Return the weight [K] of every class; None where all are 1."""
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, Mapping):
            known = {label: self.class_weight.get(label, 1.0) for label in as_list(classes)}
            return torch.tensor(
                [real(f"class_weight of {k!r}", w, above=0) for k, w in known.items()]
            )
        if self.class_weight != "balanced":
            raise SettingError(
                'class_weight to be None, "balanced" or a dict of weights by label',
                repr(self.class_weight),
                "pass one of these",
            )
        counts = torch.bincount(targets[targets != NOT_OBSERVED].flatten(), minlength=len(classes))
        return counts.sum() / (len(classes) * counts)

    def _read(self, X: Any) -> Sequences:
        """Read sequences like those that were learned from."""
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(f"a fitted {type(self).__name__}", "a new one", "call fit first")
        return read_sequences(X, self.n_features_in_)

    def _probabilities(self, sequences: Sequences) -> Iterator[Tensor]:
        """Return the mean of the members' probabilities, [B, ..., K] of B sequences at a time."""
        E = self.network_.members
        with torch.no_grad():
            for some in chunks(sequences, AT_ONCE):
                padded: Padded = self.features_.inputs(some)
                given = [t for t in (padded.x, padded.lengths) if t is not None]
                with threads(E * len(some) * self.hidden_size):
                    o = self.network_(*(t.expand(E, *t.shape) for t in given))
                yield o.squeeze(-2).double().softmax(-1).mean(0)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Any:
        # Only scikit-learn asks, so it is there.
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type=self.estimator_type,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if self.estimator_type == "classifier" else None,
            input_tags=InputTags(two_d_array=True, three_d_array=True, allow_nan=True),
        )


def _loss(weights: Tensor | None) -> losses.Loss:
    if weights is None:
        return losses.cross_entropy

    def weighted(params: Tensor, target: Tensor) -> Tensor:
        return losses.cross_entropy(params, target, weights[target.clamp(min=0)])

    return weighted


def _whole(history: History) -> History:
    """Return a history that was not broken off; training alone would end as if it were done."""
    if history.reason == "interrupted":
        raise KeyboardInterrupt
    return history
