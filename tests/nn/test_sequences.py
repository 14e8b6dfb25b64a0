"""The five shapes: what each computes, and which input may and must move which output."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from throughtime._errors import SettingError
from throughtime.nn.heads import ClassHead, GaussianHead, PointHead, QuantileHead
from throughtime.nn.recurrence import Recurrence
from throughtime.nn.sequences import (
    OneToOne,
    SequenceInput,
    SequenceOutput,
    SequenceToSequence,
    SyncedSequence,
)

B, T, F, H, L = 3, 6, 2, 4, 5
CELLS = ["rnn", "lstm", "gru"]
HEADS = [lambda: PointHead(H, 2), lambda: QuantileHead(H), lambda: ClassHead(H, 4)]
every_cell = pytest.mark.parametrize("cell", CELLS)
every_head = pytest.mark.parametrize("head", HEADS)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def influence(y: Tensor, x: Tensor) -> list[list[bool]]:
    """Which entries of axis 1 of y [B, T, ...] move with which of axis 1 of x, by autograd."""
    rows = []
    for t in range(y.shape[1]):
        (grad,) = torch.autograd.grad(y[:, t].sum(), x, retain_graph=True, materialize_grads=True)
        rows.append((grad.abs().amax((0, 2)) > 0).tolist())
    return rows


@every_cell
@every_head
@pytest.mark.parametrize("num_layers", [1, 2])
def test_shapes(cell, head, num_layers):
    recurrence = Recurrence(cell, H, num_layers)
    each = (head().outputs, head().parameter_count)
    assert OneToOne(F, recurrence, head())(torch.ones(B, F)).shape == (B, *each)
    assert SequenceInput(F, recurrence, head())(torch.ones(B, T, F)).shape == (B, *each)
    assert SequenceOutput(F, recurrence, head(), L)(torch.ones(B, F)).shape == (B, L, *each)
    assert SequenceToSequence(F, recurrence, head(), L)(torch.ones(B, T, F)).shape == (B, L, *each)
    y, state = SyncedSequence(F, recurrence, head())(torch.ones(B, T, F))
    assert y.shape == (B, T, *each)
    h = state[0] if cell == "lstm" else state
    assert h.shape == (num_layers, B, H)


@every_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sequence_input_is_the_head_on_the_newest_state(cell, bidirectional):
    recurrence = Recurrence(cell, H, num_layers=2, bidirectional=bidirectional)
    model = SequenceInput(F, recurrence, GaussianHead(recurrence.output_size)).double()
    x = randn(B, T, F)
    hidden, _ = model.layer(x)
    newest = torch.cat([hidden[:, -1, :H], hidden[:, 0, H:]], -1)
    torch.testing.assert_close(model(x), model.head(newest))


@every_cell
def test_one_to_one_is_one_step_from_a_zero_state(cell):
    model = OneToOne(F, Recurrence(cell, H), PointHead(H)).double()
    x = randn(B, F)
    zeros = torch.zeros(1, B, H, dtype=torch.float64)
    hidden, _ = model.layer(x[:, None], (zeros, zeros) if cell == "lstm" else zeros)
    torch.testing.assert_close(model(x), model.head(hidden[:, 0]))


@every_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_with_lengths_a_row_is_read_as_if_it_were_alone(cell, bidirectional):
    recurrence = Recurrence(cell, H, num_layers=2, bidirectional=bidirectional)
    model = SequenceInput(F, recurrence, PointHead(recurrence.output_size)).double()
    x, lengths = randn(B, T, F), torch.tensor([2, T, 1])
    alone = [model(row[None, :length]) for row, length in zip(x, lengths, strict=True)]
    torch.testing.assert_close(model(x, lengths), torch.cat(alone))


@every_cell
def test_an_encoder_stops_at_the_lengths(cell):
    model = SequenceToSequence(F, Recurrence(cell, H), PointHead(H), L).double()
    x, lengths = randn(B, T, F), torch.tensor([2, T, 1])
    alone = [model(row[None, :length]) for row, length in zip(x, lengths, strict=True)]
    torch.testing.assert_close(model(x, lengths=lengths), torch.cat(alone))


@every_cell
def test_a_carried_state_makes_chunks_equal_the_whole(cell):
    model = SyncedSequence(F, Recurrence(cell, H, num_layers=2), PointHead(H)).double()
    x = randn(B, T, F)
    whole, last = model(x)
    state, chunks = None, []
    for chunk in x.split([2, 1, 3], dim=1):
        y, state = model(chunk, state)
        chunks.append(y)
    torch.testing.assert_close(torch.cat(chunks, 1), whole)
    torch.testing.assert_close(state, last)


def writer(shape, cell, head):
    """A decoding model, its input, and u_1, h_0 and padding as the equations state them."""
    model = shape(F, Recurrence(cell, H), head(), L).double()
    features = model.head.feedback_size
    if shape is SequenceOutput:
        x = randn(B, F)
        return model, x, torch.cat([x, randn(B, features).zero_()], 1), None, randn(B, F).zero_()
    x = randn(B, T, F)
    _, state = model.encoder(x)
    return model, x, randn(B, features).zero_(), state, randn(B, 0)


def some_targets(head, length: int) -> Tensor:
    if isinstance(head, ClassHead):
        return torch.randint(head.classes, (B, length, head.outputs))
    return randn(B, length, head.outputs)


@every_cell
@every_head
@pytest.mark.parametrize("shape", [SequenceOutput, SequenceToSequence])
@pytest.mark.parametrize("forced", [True, False])
def test_a_decoder_is_its_unrolled_loop(shape, cell, head, forced):
    model, x, u, state, zeros = writer(shape, cell, head)
    targets = some_targets(model.head, L)
    expected = []
    for t in range(L):
        hidden, state = model.decoder(u[:, None], state)
        params = model.head(hidden[:, 0])
        expected.append(params)
        y = targets[:, t] if forced else model.head.point(params)
        u = torch.cat([zeros, model.head.feedback(y)], 1)
    found, expected = model(x, targets) if forced else model(x), torch.stack(expected, 1)
    torch.testing.assert_close(found, expected)
    weights = list(model.parameters())
    ours, theirs = (torch.autograd.grad(y.square().sum(), weights) for y in (found, expected))
    torch.testing.assert_close(ours, theirs)


@every_head
@pytest.mark.parametrize("shape", [SequenceOutput, SequenceToSequence])
def test_forcing_runs_from_none_to_all_and_targets_set_the_length(shape, head):
    model, x, *_ = writer(shape, "gru", head)
    targets = some_targets(model.head, L + 2)
    torch.testing.assert_close(model(x, targets, forcing=0.0)[:, :L], model(x))
    almost_one = 1 - 1e-12
    torch.testing.assert_close(model(x, targets, forcing=almost_one), model(x, targets))
    assert model(x, targets).shape[1] == model(x, targets, 0.5).shape[1] == L + 2


def test_scheduled_sampling_draws_for_each_row_and_step():
    model = SequenceOutput(F, Recurrence("gru", H), PointHead(H), L).double()
    x, targets = randn(1, F).expand(200, F), torch.full((200, 3, 1), 5.0, dtype=torch.float64)
    second, third = model(x, targets, forcing=0.25)[:, 1:, 0, 0].T
    forced = second.detach().isclose(model(x[:1], targets[:1])[0, 1, 0, 0])
    assert 0.1 < forced.double().mean() < 0.4
    assert len(third.detach().round(decimals=9).unique()) == 4


def test_unknown_targets_are_fed_as_zero():
    model = SequenceToSequence(F, Recurrence("gru", H), PointHead(H), L).double()
    x, targets = randn(B, T, F), randn(B, L, 1)
    holes, zeros = targets.clone(), targets.clone()
    holes[:, 2], zeros[:, 2] = float("nan"), 0.0
    torch.testing.assert_close(model(x, holes), model(x, zeros))


# Causality: which outputs move with which inputs.


@every_cell
def test_every_synced_output_moves_with_all_inputs_up_to_it_and_no_later_one(cell):
    model = SyncedSequence(F, Recurrence(cell, H, num_layers=2), PointHead(H)).double()
    x = randn(B, T, F).requires_grad_()
    y, _ = model(x)
    assert influence(y, x) == [[s <= t for s in range(T)] for t in range(T)]


def test_bidirectional_synced_outputs_move_with_every_input():
    recurrence = Recurrence("gru", H, bidirectional=True)
    model = SyncedSequence(F, recurrence, PointHead(2 * H)).double()
    x = randn(B, T, F).requires_grad_()
    assert influence(model(x)[0], x) == [[True] * T] * T


@every_cell
def test_many_to_one_moves_with_every_input_the_newest_included(cell):
    model = SequenceInput(F, Recurrence(cell, H), PointHead(H)).double()
    x = randn(B, T, F).requires_grad_()
    assert influence(model(x)[:, None], x) == [[True] * T]


@every_cell
def test_every_written_output_moves_with_every_input(cell):
    model = SequenceToSequence(F, Recurrence(cell, H), PointHead(H), L).double()
    x = randn(B, T, F).requires_grad_()
    assert influence(model(x), x) == [[True] * T] * L
    start = SequenceOutput(F, Recurrence(cell, H), PointHead(H), L).double()
    x = randn(B, 1, F).requires_grad_()
    assert influence(start(x[:, 0]), x) == [[True]] * L


@pytest.mark.parametrize("shape", [SequenceOutput, SequenceToSequence])
@pytest.mark.parametrize("forcing", [1.0, 1 - 1e-12])
def test_a_forced_output_moves_with_earlier_targets_only(shape, forcing):
    model, x, *_ = writer(shape, "gru", lambda: PointHead(H))
    targets = some_targets(model.head, L).requires_grad_()
    y = model(x, targets, forcing)
    assert influence(y, targets) == [[s < t for s in range(L)] for t in range(L)]


@every_cell
def test_rows_do_not_mix(cell):
    model = SequenceToSequence(F, Recurrence(cell, H, num_layers=2), PointHead(H), L).double()
    x = randn(B, T, F).requires_grad_()
    (grad,) = torch.autograd.grad(model(x)[1].sum(), x)
    assert (grad.abs().sum((1, 2)) > 0).tolist() == [False, True, False]


@pytest.mark.parametrize("shape", [SequenceOutput, SequenceToSequence])
def test_gradients_of_the_free_run_reach_every_weight(shape):
    model, x, *_ = writer(shape, "lstm", lambda: PointHead(H))
    model(x).square().sum().backward()
    assert all((p.grad != 0).any() for p in model.parameters())


TINY = Recurrence("gru", H)
REFUSALS = [
    (lambda: Recurrence("grn", H), "cell to be one of 'rnn', 'lstm', 'gru'"),
    (lambda: Recurrence("gru", 0), "hidden_size"),
    (lambda: Recurrence("gru", H, 0), "num_layers"),
    (lambda: Recurrence("gru", H, 2, dropout=1), "dropout to be a number at least 0 and below 1"),
    (lambda: Recurrence("gru", H, dropout=0.1), "two layers or more for dropout"),
    (lambda: SequenceInput(0, TINY, PointHead(H)), "input_size"),
    (lambda: SequenceOutput(0, TINY, PointHead(H), L), "input_size"),
    (lambda: SequenceInput(F, TINY, PointHead(H + 1)), "reads the 4 features.*hidden_size=5"),
    (lambda: SequenceOutput(F, TINY, PointHead(H), 0), "length"),
    (
        lambda: SequenceToSequence(F, Recurrence("gru", H, bidirectional=True), PointHead(H), L),
        "one direction for SequenceToSequence",
    ),
    (
        lambda: SyncedSequence(F, Recurrence("gru", 2, bidirectional=True), PointHead(H))(
            torch.zeros(B, T, F), torch.zeros(2, B, 2)
        ),
        "no state for bidirectional layers",
    ),
    (
        lambda: SequenceInput(F, TINY, PointHead(H))(torch.zeros(T, F)),
        r"x of shape \[B, T, 2\], found \[6, 2\]",
    ),
    (
        lambda: SequenceOutput(F, TINY, PointHead(H), L)(torch.zeros(B, F), torch.zeros(B, L)),
        r"targets of shape \[3, L, 1\], found \[3, 5\]",
    ),
    (
        lambda: SequenceOutput(F, TINY, PointHead(H), L)(
            torch.zeros(B, F), torch.zeros(B, L, 1), forcing=1.5
        ),
        "forcing to be a number at least 0 and at most 1",
    ),
]


@pytest.mark.parametrize(("act", "message"), REFUSALS)
def test_what_makes_no_sense_is_refused_with_its_reason(act, message):
    with pytest.raises(SettingError, match=message):
        act()


@every_cell
@pytest.mark.parametrize("bidirectional", [False, True])
def test_labels_stop_at_the_lengths(cell, bidirectional):
    recurrence = Recurrence(cell, H, num_layers=2, bidirectional=bidirectional)
    model = SyncedSequence(F, recurrence, PointHead(recurrence.output_size)).double()
    x, lengths = randn(B, T, F), torch.tensor([2, T, 1])
    y, _ = model(x, lengths=lengths)
    for row, said, length in zip(x, y, lengths, strict=True):
        torch.testing.assert_close(said[:length], model(row[None, :length])[0][0])
    with pytest.raises(SettingError, match="a state or lengths"):
        SyncedSequence(F, Recurrence(cell, H), PointHead(H))(x, "a state", lengths)
