import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import DataError
from throughtime.training import examples as module
from throughtime.training.examples import Shuffle, Some, TensorExamples, kept


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


def test_few_examples_come_in_the_permutations_they_always_did():
    generator = torch.Generator().manual_seed(3)
    epochs = torch.stack([torch.randperm(100, generator=generator) for _ in range(2)])
    batches = shuffle(100, 10, 2, seed=3)
    assert torch.equal(torch.cat([batches.draw() for _ in range(10)], dim=1), epochs)


def test_of_many_examples_any_is_drawn_from_a_short_list(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_EPOCH", 20)
    count, batches = 10**12, shuffle(10**12, 32, 3)
    drawn = torch.cat([batches.draw() for _ in range(300)], dim=1)
    assert drawn.shape == (3, 9600)
    assert batches.left.shape[1] < module.LARGEST_DRAW
    assert drawn.min() >= 0
    assert drawn.max() < count
    share = drawn.double().mean(1) / count  # of a uniform draw: 1/2, give or take 0.003
    assert ((share - 0.5).abs() < 0.015).all()
    assert not torch.equal(drawn[0], drawn[1])
    few = shuffle(21, 7, seed=1)
    assert set(torch.cat([few.draw() for _ in range(60)]).tolist()) == set(range(21))


def test_a_batch_may_be_larger_than_the_list(monkeypatch):
    monkeypatch.setattr(module, "LARGEST_EPOCH", 20)
    monkeypatch.setattr(module, "LARGEST_DRAW", 8)
    assert shuffle(1000, 50, 2).draw().shape == (2, 50)


@given(count=st.integers(1, 50), most=st.integers(1, 60))
def test_some_are_spread_evenly_and_all_are_all(count, most):
    some = Some(TensorExamples(torch.arange(count), torch.arange(count)), most)
    assert len(some) == min(count, most)
    x, _ = some[torch.arange(len(some))]
    if most >= count:
        assert x.tolist() == list(range(count))
    elif most > 1:
        assert (x[0], x[-1]) == (0, count - 1)
        steps = x.diff()
        assert steps.min() >= 1
        assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("members", [None, 3])
def test_what_follows_is_what_is_drawn_next(members):
    batches = shuffle(20, 4, members)
    batches.draw()
    assert batches.following(9).shape[-1] == 16  # what is left of the epoch
    following = batches.following(3)
    drawn = torch.cat([batches.draw() for _ in range(3)], dim=-1)
    assert torch.equal(following, drawn)
    assert shuffle(4, None).following(2).shape == (0,)


class Kinds:
    """Examples of 3 kinds, whose numbers tell them all apart."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index):
        kind = torch.arange(len(index))[:, None] % 3
        x = index + 10 * kind
        return (x[..., None], x[..., None, None].expand(-1, -1, 2, 0)), -x


@given(members=st.integers(1, 7), batch=st.integers(1, 9), seed=st.integers(0, 99))
def test_what_is_kept_is_what_was_made(members, batch, seed):
    index = torch.randint(7, (members, batch), generator=torch.Generator().manual_seed(seed))
    (x, nothing), y = kept(Kinds(), 3)[index]
    (own_x, none), own_y = Kinds()[index]
    assert torch.equal(x, own_x)
    assert torch.equal(y, own_y)
    assert nothing.shape == none.shape


def test_what_are_many_numbers_is_not_kept(monkeypatch):
    examples = Kinds()
    monkeypatch.setattr(module, "MOST_KEPT", 7 * 3 * 2)
    assert len(kept(examples, 3)) == 7
    assert kept(examples, 3) is not examples
    monkeypatch.setattr(module, "MOST_KEPT", 7 * 3 * 2 - 1)
    assert kept(examples, 3) is examples
