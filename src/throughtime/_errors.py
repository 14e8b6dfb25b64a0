"""Every error this package raises on purpose.

ThroughtimeError
 ├── DataError (ValueError)          a table, a file or a series is not what is needed
 ├── SettingError (ValueError)       an argument or an option is out of its range
 ├── TensorError (RuntimeError)      a tensor has not the shape, precision or device it should have
 ├── NotFittedError (RuntimeError)   a result was asked for before there was one
 ├── ModelFileError (ValueError)     a model file or a checkpoint is damaged or foreign
 ├── DivergedError (ArithmeticError) training met a loss or a gradient that is not finite
 └── MissingExtraError (ImportError) an optional dependency is not installed

Each states three things, in this order: what was expected, what was found, what to do.

>>> raise DataError("numbers in column 'y'", "'abc' in row 17", "correct that cell")
Traceback (most recent call last):
throughtime._errors.DataError: Expected numbers in column 'y', found 'abc' in row 17: correct that cell.
"""

from __future__ import annotations


class ThroughtimeError(Exception):
    """Base of all errors raised on purpose: one sentence with expectation, finding, remedy."""

    def __init__(self, expected: str, found: str, remedy: str) -> None:
        self.expected, self.found, self.remedy = expected, found, remedy
        super().__init__(f"Expected {expected}, found {found}: {remedy.rstrip('.')}.")

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.expected, self.found, self.remedy)


class DataError(ThroughtimeError, ValueError):
    """A table, a file or a series is not what is needed."""


class SettingError(ThroughtimeError, ValueError):
    """An argument or an option is out of its range."""


class TensorError(ThroughtimeError, RuntimeError):
    """A tensor has not the shape, the precision or the device that it should have."""


class NotFittedError(ThroughtimeError, RuntimeError):
    """A result was asked for before there was one."""


class ModelFileError(ThroughtimeError, ValueError):
    """A model file or a checkpoint is damaged or foreign."""


class DivergedError(ThroughtimeError, ArithmeticError):
    """Training met a loss or a gradient that is not finite."""


class MissingExtraError(ThroughtimeError, ImportError):
    """An optional dependency is not installed."""
