import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from throughtime import DataError, SettingError
from throughtime.training import Truncation, reaches

B, T, H = 2, 11, 4
FEATURES = 3


class CellLoop(torch.nn.Module):
    """A user's own loop, with a state that is a tuple in a tuple."""

    def __init__(self):
        super().__init__()
        self.cell = torch.nn.LSTMCell(FEATURES, H)

    def forward(self, x, state):
        h, c = (x.new_zeros(len(x), H), x.new_zeros(len(x), H)) if state is None else state[0]
        outputs = []
        for x_t in x.unbind(1):
            h, c = self.cell(x_t, (h, c))
            outputs.append(h)
        return torch.stack(outputs, 1), ((h, c),)


MODELS = {
    "rnn": lambda: torch.nn.RNN(FEATURES, H, batch_first=True),
    "lstm": lambda: torch.nn.LSTM(FEATURES, H, num_layers=2, batch_first=True),
    "gru": lambda: torch.nn.GRU(FEATURES, H, batch_first=True),
    "loop": CellLoop,
}
every_model = pytest.mark.parametrize("kind", MODELS)
lengths = {"k1": st.integers(1, T + 2), "more": st.integers(0, T + 2)}


def build(kind):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = MODELS[kind]().double()
        return model, torch.randn(B, T, FEATURES).double(), torch.randn(B, T, H).double()


def squares(outputs, targets):
    return ((outputs - targets) ** 2).sum()


def gradient(model):
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    return flat


def walk(model, inputs, targets, truncation):
    for reach in reaches(model, inputs, targets, truncation):
        squares(reach.outputs, reach.targets).backward()
    return gradient(model)


def full(model, inputs, targets):
    squares(model(inputs, None)[0], targets).backward()
    return gradient(model)


def brute_force(model, inputs, targets, k1, k2):
    """Step by step, each update from the very beginning, the state cut where its reach begins."""
    for done in range(0, T, k1):
        stop = min(done + k1, T)
        state = None
        for t in range(stop):
            if t == max(0, stop - k2) and state is not None:
                state = cut(state)
            output, state = model(inputs[:, t : t + 1], state)
            if t >= done:
                squares(output, targets[:, t : t + 1]).backward(retain_graph=True)
    return gradient(model)


def cut(state):
    return state.detach() if isinstance(state, torch.Tensor) else tuple(map(cut, state))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * b.abs().max().item())


@every_model
@given(k1=st.integers(1, T + 2))
def test_reaching_back_over_everything_is_full_bptt(kind, k1):
    model, inputs, targets = build(kind)
    close(
        walk(model, inputs, targets, Truncation(k1, max(T, k1))),
        full(model, inputs, targets),
    )


@every_model
@given(**lengths)
def test_a_shorter_reach_is_a_brute_force_detach(kind, k1, more):
    model, inputs, targets = build(kind)
    close(
        walk(model, inputs, targets, Truncation(k1, k1 + more)),
        brute_force(model, inputs, targets, k1, k1 + more),
    )


def test_a_short_reach_is_not_full_bptt():
    model, inputs, targets = build("lstm")
    short = walk(model, inputs, targets, Truncation(2, 4))
    assert not torch.allclose(short, full(model, inputs, targets), rtol=1e-6)


@every_model
@given(**lengths)
def test_outputs_and_targets_are_those_of_one_pass(kind, k1, more):
    model, inputs, targets = build(kind)
    walked = list(reaches(model, inputs, targets, Truncation(k1, k1 + more)))
    close(torch.cat([r.outputs for r in walked], 1), model(inputs, None)[0])
    assert torch.equal(torch.cat([r.targets for r in walked], 1), targets)
    assert [r.stop for r in walked] == [*range(k1, T, k1), T]
    assert all(r.start == max(0, r.stop - k1 - more) for r in walked)


@every_model
@given(**lengths)
def test_a_walk_goes_on_from_any_position(kind, k1, more):
    model, inputs, targets = build(kind)
    truncation = Truncation(k1, k1 + more)
    first = list(reaches(model, inputs, targets, truncation))
    for i, reach in enumerate(first):
        again = list(reaches(model, inputs, targets, truncation, reach.position))
        for a, b in zip(again, first[i + 1 :], strict=True):
            assert torch.equal(a.outputs, b.outputs)


def test_later_reaches_use_the_weights_they_find():
    model, inputs, targets = build("rnn")
    walked = reaches(model, inputs, targets, Truncation(4, 8))
    next(walked)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert (next(walked).outputs == 0).all()


def test_no_truncation_is_one_reach():
    model, inputs, targets = build("gru")
    (reach,) = reaches(model, inputs, targets)
    squares(reach.outputs, reach.targets).backward()
    close(gradient(model), full(model, inputs, targets))


@pytest.mark.parametrize("bad", [{"k1": 0}, {"k1": 1.5}, {"k1": 5, "k2": 4}, {"k1": 5, "k2": "a"}])
def test_bad_lengths_are_refused(bad):
    with pytest.raises(SettingError, match=r"k1|k2"):
        Truncation(**bad)


def test_sequences_that_do_not_align_are_refused():
    model, inputs, targets = build("rnn")
    with pytest.raises(DataError, match="align both"):
        next(reaches(model, inputs, targets[:, 1:]))
    with pytest.raises(DataError, match="at least one step"):
        next(reaches(model, inputs[:, :0], targets[:, :0]))
