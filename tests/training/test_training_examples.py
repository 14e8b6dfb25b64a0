import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import DataError
from throughtime.training.examples import Shuffle, TensorExamples


def shuffle(count, batch_size, members=None, seed=0):
    return Shuffle(count, batch_size, members, torch.Generator().manual_seed(seed))


@given(
    count=st.integers(1, 12), batch_size=st.integers(1, 15), members=st.sampled_from([None, 1, 3])
)
def test_every_epoch_holds_every_example_once(count, batch_size, members):
    batches = shuffle(count, batch_size, members)
    size = min(batch_size, count)
    drawn = torch.cat([batches.draw().reshape(-1, size) for _ in range(3 * count)], dim=1)
    for row in drawn.reshape(members or 1, -1, count).flatten(0, 1):
        assert sorted(row.tolist()) == list(range(count))


def test_members_draw_batches_of_their_own_and_seeds_differ():
    index = shuffle(100, 10, 3).draw()
    assert index.shape == (3, 10)
    assert not torch.equal(index[0], index[1])
    assert torch.equal(shuffle(100, 10).draw(), shuffle(100, 10).draw())
    assert not torch.equal(shuffle(100, 10).draw(), shuffle(100, 10, seed=1).draw())


def test_everything_comes_in_order():
    assert shuffle(4, None).draw().tolist() == [0, 1, 2, 3]
    assert shuffle(2, None, 2).draw().tolist() == [[0, 1], [0, 1]]


def test_examples_must_agree_and_be_there():
    with pytest.raises(DataError, match="as many inputs"):
        TensorExamples(torch.zeros(3, 1), torch.zeros(2, 1))
    with pytest.raises(DataError, match="at least one example"):
        shuffle(0, None)
