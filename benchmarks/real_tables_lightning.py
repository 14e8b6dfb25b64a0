"""A watch over PyTorch Lightning's trainer, under which all peers train."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from real_tables_tasks import Limit

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "accelerator": "cpu",
}


def hush() -> None:
    """Let no library print what it is doing."""
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning", "lightning.pytorch", "darts", "gluonts"):
        logging.getLogger(name).setLevel(logging.ERROR)


def meter(callback: type[Any], limit: Limit, planned: int | None = None) -> Any:
    """Return a callback that ends training at the limit, and knows the share that was done.

    `callback` is the class of the Lightning that the library imports, `planned` the number of
    updates where Lightning does not know it.
    """

    class Meter(callback):  # type: ignore[misc]
        share = 1.0

        def __deepcopy__(self, _: Any) -> Meter:
            return self  # a library trains a copy of what it was given

        def on_train_start(self, trainer: Any, _: Any) -> None:
            self.end = limit.clock() + limit.seconds
            self.planned = planned or int(trainer.estimated_stepping_batches)

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if limit.clock() > self.end:
                trainer.should_stop = True

        def on_train_end(self, trainer: Any, _: Any) -> None:
            self.share = min(1.0, trainer.global_step / self.planned)

    return Meter()
