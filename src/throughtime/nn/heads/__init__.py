"""Heads: from a hidden state [..., H] to the parameters of what is forecast; one file for each.

    PointHead             y
    QuantileHead          quantiles that do not cross
    GaussianHead          mean, scale
    StudentTHead          df, loc, scale
    NegativeBinomialHead  mean, dispersion: for counts
    MixtureHead           log weights, means, scales: a mixture of normal distributions
    ClassHead             logits

All but the last are heads of values (`ValueHead`): they also give quantiles, samples and the probability
integral transform, and take their parameters to another scale.
"""

from throughtime.nn.heads.base import Head, ValueHead
from throughtime.nn.heads.classes import ClassHead
from throughtime.nn.heads.gaussian import GaussianHead
from throughtime.nn.heads.mixture import MixtureHead
from throughtime.nn.heads.negative_binomial import NegativeBinomialHead
from throughtime.nn.heads.point import PointHead
from throughtime.nn.heads.quantile import QuantileHead, checked_levels
from throughtime.nn.heads.student_t import StudentTHead

__all__ = [
    "ClassHead",
    "GaussianHead",
    "Head",
    "MixtureHead",
    "NegativeBinomialHead",
    "PointHead",
    "QuantileHead",
    "StudentTHead",
    "ValueHead",
    "checked_levels",
]
