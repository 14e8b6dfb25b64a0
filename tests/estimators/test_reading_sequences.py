"""What a net reads of sequences: standardised, gaps carried on, padded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from throughtime.estimators.folds import leave_one_fold_out
from throughtime.estimators.sequences import Features, read_sequences

NAN = np.nan


def test_moments_are_those_of_the_steps_that_are_observed():
    rows = [np.array([[1.0, 5.0], [NAN, 5.0]]), np.array([[3.0, 5.0]])]
    features = Features.of(read_sequences(rows))
    assert features.mean.tolist() == [2.0, 5.0]
    assert features.deviation.tolist() == [1.0, 1.0]  # a constant is left where it is
    assert features.has_gaps.tolist() == [True, False]
    assert features.size == 3


def test_a_constant_that_is_no_binary_fraction_is_still_one():
    features = Features.of(read_sequences(np.full((10, 7), 0.1)))
    assert features.deviation.tolist() == [1.0]


def test_gaps_carry_on_and_say_so_and_padding_is_zero():
    sequences = read_sequences([[NAN, -1.0, NAN, 1.0], [1.0, NAN], [-1.0]])
    padded = Features.of(sequences).inputs(sequences)
    assert padded.lengths.tolist() == [4, 2, 1]
    assert padded.x[..., 0].tolist() == [[0, -1, -1, 1], [1, 1, 0, 0], [-1, 0, 0, 0]]
    assert padded.x[..., 1].tolist() == [[0, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]]
    even = read_sequences([[0.0, 1.0], [1.0, 0.0]])
    assert Features.of(even).inputs(even).lengths is None


@pytest.mark.parametrize(("n", "members"), [(67, 5), (11, 2), (30, 7), (4, 6)])
def test_folds_are_even_stratified_and_left_out(n, members):
    strata = [i % 3 == 0 for i in range(n)]
    generator = torch.Generator().manual_seed(0)
    learn, held = leave_one_fold_out([int(s) for s in strata], members, generator)
    for known, left in zip(learn.tolist(), held.tolist(), strict=True):
        assert sorted([*known, *left]) == list(range(n))
        share = sum(strata[i] for i in left)
        assert abs(share - len(left) / 3) <= 1
    folds = min(max(5, members), n)
    assert held.shape == (members, n // folds)
    assert len({*held[:folds].flatten().tolist()}) == held[:folds].numel()  # none twice


def test_a_class_with_one_sequence_is_always_learned_from():
    learn, held = leave_one_fold_out([0] * 9 + [1], 5, torch.Generator().manual_seed(0))
    assert (learn == 9).any(1).all()
    assert not (held == 9).any()
