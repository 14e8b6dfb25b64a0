"""Dilated layers and skip connections against a loop over time that keeps every state."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import throughtime as tt
from throughtime._errors import SettingError
from throughtime.kernels import AdjointTap
from throughtime.nn import GRU, LSTM, RNN, Ensemble, PointHead, Recurrence, Stack, recording
from throughtime.nn.sequences import OneToOne, SequenceInput, SequenceToSequence, SyncedSequence
from throughtime.nn.starting_points import chrono

B, F, H = 3, 2, 4
CELLS = ["rnn", "lstm", "gru"]
FORMS = [(1, 2, 4), (3, 1), ((2, 3), (1,)), ((1, 2), (3, 2)), (5,)]
every_cell = pytest.mark.parametrize("cell", CELLS)
both_ways = pytest.mark.parametrize("bidirectional", [False, True])
close = torch.testing.assert_close


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def a_stack(cell: str, dilations, bidirectional: bool = False, skip=None, **how) -> Stack:
    skip = any(isinstance(d, tuple) for d in dilations) if skip is None else skip
    how = {"dilations": dilations, "skip_connections": skip, "bidirectional": bidirectional} | how
    return Recurrence(cell, H, **how).build(F).double()


def cell_step(layer, suffix: str, x: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One step, as the textbooks have it."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    W, U, b_ih, b_hh = (getattr(layer, f"{name}_l0{suffix}") for name in names)
    a, u = x @ W.T + b_ih, before[0] @ U.T + b_hh
    if isinstance(layer, RNN):
        return ((a + u).tanh(),)
    if isinstance(layer, LSTM):
        i, f, g, o = (a + u).chunk(4, -1)
        c = f.sigmoid() * before[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c
    r, z, n = zip(a.chunk(3, -1), u.chunk(3, -1), strict=True)
    r, z = sum(r).sigmoid(), sum(z).sigmoid()
    n = (n[0] + r * n[1]).tanh()
    return ((1 - z) * n + z * before[0],)


def looped(stack: Stack, x: Tensor, state=None):
    """The output [B, T, ..] and the state of a stack, one step and one layer after the other."""
    states = () if state is None else (state,) if isinstance(state, Tensor) else state
    kinds = 2 if isinstance(stack.layers[0], LSTM) else 1
    depth = sum(stack.dilations) * (1 + stack.bidirectional)
    states = states or tuple(x.new_zeros(depth, len(x), H) for _ in range(kinds))
    rings, y, at, number = [], x, 0, 0
    for k, block in enumerate(stack.blocks):
        before = y
        for d in block:
            layer, sides = stack.layers[number], []
            for reverse in range(1 + stack.bidirectional):
                past = [tuple(s[at + i] for s in states) for i in range(d)]
                steps = list(y.unbind(1))[:: -1 if reverse else 1]
                for u in steps:
                    past.append(cell_step(layer, "_reverse" * reverse, u, past[-d]))
                out = torch.stack([s[0] for s in past[d:]][:: -1 if reverse else 1], 1)
                sides.append(out)
                rings.extend(past[-d:])
                at += d
            y, number = torch.cat(sides, -1), number + 1
        y = y + before if k else y
    last = tuple(torch.stack(kind) for kind in zip(*rings, strict=True))
    return y, last if kinds == 2 else last[0]


def flat(*values) -> list[Tensor]:
    return [t for v in values for t in ([v] if isinstance(v, Tensor) else v)]


def gradients(stack: Stack, found, *others: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a sum with fixed weights of everything that was found."""
    torch.manual_seed(1)
    total = sum((t * randn(*t.shape)).sum() for t in flat(*found))
    return torch.autograd.grad(total, [*stack.parameters(), *others])


@given(
    cell=st.sampled_from(CELLS),
    form=st.sampled_from(FORMS),
    T=st.integers(1, 13),
    rows=st.integers(1, 3),
    bidirectional=st.booleans(),
    from_zero=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_a_stack_is_its_loop_and_so_are_its_gradients(
    cell, form, T, rows, bidirectional, from_zero
):
    stack = a_stack(cell, form, bidirectional)
    x = randn(rows, T, F).requires_grad_()
    shape = sum(stack.dilations) * (1 + bidirectional), rows, H
    start = [randn(*shape).requires_grad_() for _ in range(1 + (cell == "lstm"))]
    state = None if from_zero else tuple(start) if cell == "lstm" else start[0]
    found, expected = stack(x, state), looped(stack, x, state)
    close(found, expected, atol=1e-10, rtol=0)
    leaves = [x] if from_zero else [x, *start]
    ours, theirs = gradients(stack, found, *leaves), gradients(stack, expected, *leaves)
    close(ours, theirs, atol=1e-10, rtol=0)


@given(
    cell=st.sampled_from(CELLS),
    form=st.sampled_from(FORMS),
    pieces=st.lists(st.integers(1, 6), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_a_carried_state_makes_chunks_equal_the_whole(cell, form, pieces):
    stack = a_stack(cell, form)
    x = randn(B, sum(pieces), F)
    whole, last = stack(x)
    state, chunks = None, []
    for chunk in x.split(pieces, 1):
        y, state = stack(chunk, state)
        chunks.append(y)
    close(torch.cat(chunks, 1), whole, atol=1e-12, rtol=0)
    close(state, last, atol=1e-12, rtol=0)


@given(
    cell=st.sampled_from(CELLS),
    form=st.sampled_from(FORMS),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    bidirectional=st.booleans(),
    sort=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_rows_of_a_packed_sequence_are_read_as_if_they_were_alone(
    cell, form, lengths, bidirectional, sort
):
    lengths = sorted(lengths, reverse=True) if sort else lengths
    stack = a_stack(cell, form, bidirectional)
    x = randn(len(lengths), max(lengths), F)
    depth = sum(stack.dilations) * (1 + bidirectional)
    start = tuple(randn(depth, len(lengths), H) for _ in range(1 + (cell == "lstm")))
    packed = pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted=sort)
    output, state = stack(packed, start if cell == "lstm" else start[0])
    output, found = pad_packed_sequence(output, batch_first=True)
    assert found.tolist() == lengths
    for b, T in enumerate(lengths):
        row = tuple(s[:, b : b + 1] for s in start)
        y, last = looped(stack, x[b : b + 1, :T], row if cell == "lstm" else row[0])
        close(output[b : b + 1, :T], y, atol=1e-10, rtol=0)
        for ours, theirs in zip(flat(state), flat(last), strict=True):
            close(ours[:, b : b + 1], theirs, atol=1e-10, rtol=0)


@every_cell
@both_ways
def test_without_dilation_it_is_the_plain_stack(cell, bidirectional):
    stack = a_stack(cell, (1, 1, 1), bidirectional)
    plain = Recurrence(cell, H, 3, bidirectional=bidirectional).build(F).double()
    for number, layer in enumerate(stack.layers):
        for name, weight in layer.named_parameters():
            plain.get_parameter(name.replace("_l0", f"_l{number}")).data = weight.data
    x = randn(B, 7, F)
    close(stack(x), plain(x), atol=1e-12, rtol=0)
    state = plain(x)[1]
    close(stack(x, state), plain(x, state), atol=1e-12, rtol=0)


@every_cell
def test_blocks_whose_weights_are_zero_let_everything_through(cell):
    stack = a_stack(cell, (1, 2, 3), skip=True)
    for layer in stack.layers[1:]:
        for weight in layer.parameters():
            torch.nn.init.zeros_(weight)
    x = randn(B, 8, F)
    first, _ = stack.layers[0](x.transpose(0, 1))
    assert torch.equal(stack(x)[0], first.transpose(0, 1))


@every_cell
@both_ways
@pytest.mark.parametrize("form", FORMS)
def test_the_newest_output_is_known_from_the_states(cell, bidirectional, form):
    stack = a_stack(cell, form, bidirectional)
    for T in (2, 7, 12):
        output, state = stack(randn(B, T, F))
        ends = [output[:, -1, :H], output[:, 0, H:]]
        close(stack.newest(state), torch.cat(ends, -1), atol=1e-12, rtol=0)


@pytest.mark.parametrize("T", [5, 7, 8])
def test_an_input_moves_exactly_the_outputs_whole_dilations_after_it(T):
    """One layer of dilation 4 hears x_s at s, s + 4, s + 8 ..; the newest input moves the newest."""
    stack, x = a_stack("gru", (4,)), randn(1, T, F).requires_grad_()
    output, _ = stack(x)
    for t in range(T):
        (grad,) = torch.autograd.grad(output[:, t].sum(), x, retain_graph=True)
        heard = (grad.abs().amax((0, 2)) > 0).tolist()
        assert heard == [s <= t and (t - s) % 4 == 0 for s in range(T)]


@every_cell
@pytest.mark.parametrize("form", [(1, 2, 4), ((1, 3), (2,))])
def test_an_ensemble_maps_stacks(cell, form):
    def build() -> SequenceInput:
        skip = isinstance(form[0], tuple)
        recurrence = Recurrence(cell, H, dilations=form, skip_connections=skip)
        return SequenceInput(F, recurrence, PointHead(H)).double()

    ensemble = Ensemble(build, members=3)
    assert ensemble._maps()
    for T in (3, 8, 9):
        x = randn(3, B, T, F)
        said = ensemble(x)
        grads = torch.autograd.grad(said.square().sum(), list(ensemble.parameters()))
        for e in range(3):
            member = ensemble.member(e)
            close(said[e], member(x[e]), atol=1e-10, rtol=0)
            alone = torch.autograd.grad(member(x[e]).square().sum(), list(member.parameters()))
            close([g[e] for g in grads], list(alone), atol=1e-10, rtol=0)


@every_cell
@both_ways
def test_with_lengths_a_shape_reads_a_row_as_if_it_were_alone(cell, bidirectional):
    how = {"dilations": ((1, 2), (4,)), "skip_connections": True, "bidirectional": bidirectional}
    recurrence = Recurrence(cell, H, **how)
    model = SequenceInput(F, recurrence, PointHead(recurrence.output_size)).double()
    x, lengths = randn(B, 9, F), torch.tensor([2, 9, 1])
    alone = [model(row[None, :length]) for row, length in zip(x, lengths, strict=True)]
    close(model(x, lengths), torch.cat(alone))
    close(model(x), model.head(model.layer(x)[0][:, -1]) if not bidirectional else model(x))


@every_cell
def test_a_writer_goes_on_from_the_reader_as_if_time_went_on(cell):
    """With the reader's weights and zeros to read, a writer is the reader over zeros appended."""
    recurrence = Recurrence(cell, H, dilations=(2, 3), skip_connections=True)
    model = SequenceToSequence(1, recurrence, PointHead(H), 5).double()
    model.decoder.load_state_dict(model.encoder.state_dict())
    x, nothing = randn(B, 7, 1), torch.zeros(B, 5, 1, dtype=torch.float64)
    appended, _ = looped(model.encoder, torch.cat([x, nothing], 1))
    close(model(x, nothing), model.head(appended[:, -5:]))
    free = [model.head(model.encoder(x)[0])[:, :0]]
    u, past = nothing[:, :1], x
    for _ in range(5):
        past = torch.cat([past, u], 1)
        free.append(model.head(looped(model.encoder, past)[0][:, -1:]))
        u = free[-1][..., 0]
    close(model(x), torch.cat(free, 1))


@every_cell
def test_the_other_shapes_take_stacks(cell):
    recurrence = Recurrence(cell, H, dilations=(1, 2), skip_connections=True)
    one, x = OneToOne(F, recurrence, PointHead(H)).double(), randn(B, F)
    close(one(x), one.head(looped(one.layer, x[:, None])[0][:, 0]))
    synced, x = SyncedSequence(F, recurrence, PointHead(H)).double(), randn(B, 5, F)
    close(synced(x)[0], synced.head(looped(synced.layer, x)[0]))


@every_cell
@pytest.mark.parametrize("batch_first", [False, True])
def test_it_is_called_as_a_layer_of_torch_is(cell, batch_first):
    layer = {"rnn": RNN, "lstm": LSTM, "gru": GRU}[cell]
    stack = Stack([layer(F, H), layer(H, H)], (1, 2), batch_first=batch_first).double()
    plain = layer(F, H, 2, batch_first=batch_first).double()
    for x in (randn(4, B, F), randn(4, F)):
        (y, state), (like, states) = stack(x), plain(x)
        assert y.shape == like.shape
        for s, other in zip(flat(state), flat(states), strict=True):
            assert s.shape == (3, *other.shape[1:])
    batched = stack(x.unsqueeze(0 if batch_first else 1))[0].squeeze(0 if batch_first else 1)
    close(y, batched)
    close(stack(x, state)[0].shape, y.shape)


def test_a_projected_lstm_keeps_both_widths():
    stack = Stack([LSTM(F, H, proj_size=2), LSTM(2, H, proj_size=2)], (1, 3), True).double()
    x = randn(7, B, F)
    output, (h, c) = stack(x)
    assert h.shape == (4, B, 2)
    assert c.shape == (4, B, H)
    close(stack.newest((h, c)), output[-1])
    first, state = stack(x[:5])
    close(torch.cat([first, stack(x[5:], state)[0]]), output)


def test_dropout_acts_between_layers_and_spares_the_connections():
    stack = a_stack("gru", (1, 2), skip=True, dropout=0.99)
    x = randn(64, 6, F)
    quiet = copy.deepcopy(stack).eval()
    first, _ = stack.layers[0](x.transpose(0, 1))
    for weight in stack.layers[1].parameters():
        torch.nn.init.zeros_(weight)
    assert torch.equal(stack(x)[0], first.transpose(0, 1))  # the connection is whole
    noisy = copy.deepcopy(quiet).train()
    assert not torch.allclose(noisy(x)[0], quiet(x)[0])
    assert torch.equal(noisy.eval()(x)[0], quiet(x)[0])


def test_cures_reach_every_layer():
    how = {"recurrent_dropout": 0.2, "zoneout": (0.1, 0.3), "state_grad_clip": 1.0}
    stack = a_stack("lstm", (1, 2), skip=True, layer_norm=True, init="chrono:40", **how)
    for layer in stack.layers:
        assert type(layer) is tt.nn.LayerNormLSTM
        assert {name: getattr(layer, name) for name in how} == how
        assert not layer.bias_hh_l0[H : 2 * H].any()  # as chrono leaves it
    output, _ = stack(randn(B, 7, F))
    output.sum().backward()
    plain = a_stack("gru", (1, 2), init="orthogonal:kept")
    for layer in plain.layers:
        U = layer.weight_hh_l0[:H]
        close(U.T @ U, torch.eye(H, dtype=torch.float64))


def test_zoneout_in_evaluation_mixes_in_the_state_a_dilation_before():
    stack = a_stack("rnn", (3,), zoneout=0.25).eval()
    x, [layer], past = randn(B, 8, F), stack.layers, [torch.zeros(B, H, dtype=torch.float64)] * 3
    for u in x.unbind(1):
        [h] = cell_step(layer, "", u, (past[-3],))
        past.append(0.25 * past[-3] + 0.75 * h)
    close(stack(x)[0], torch.stack(past[3:], 1))


def test_the_gradient_of_every_state_is_clipped():
    stack, x = a_stack("rnn", (2,), state_grad_clip=1e-3), randn(B, 7, F)
    with recording(stack) as records:
        output, _ = stack(x)
    output.sum().backward()
    [record] = records
    tap: AdjointTap = record.tap
    norms = tap.dh_TBH.norm(dim=-1)
    assert norms.max() <= 1e-3 * (1 + 1e-9)
    assert record.dilation == 2


def test_chrono_spreads_the_memory_in_steps_of_the_series():
    stack = Recurrence("lstm", 512, dilations=(1, 8), init=chrono(80)).build(1)
    longest = [layer.bias_ih_l0[512:1024].exp().max().item() for layer in stack.layers]
    assert longest == pytest.approx([79, 9], rel=0.03)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"dilations": ()}, "one number a layer"),
        ({"dilations": 2}, "one number a layer"),
        ({"dilations": (1, 0)}, "at least 1, found 0"),
        ({"dilations": (1, 2.0)}, "found 2.0"),
        ({"dilations": (1, ()), "skip_connections": True}, "one number a layer"),
        ({"dilations": ((1, 2), (4,))}, "pass skip_connections=True"),
        ({"dilations": ((1, 2),), "skip_connections": True}, "two blocks or more"),
        ({"skip_connections": True}, "two blocks or more"),
        ({"skip_connections": 1.5}, "skip_connections to be one of"),
        ({"dilations": (1, 2, 4), "num_layers": 2}, "num_layers=3"),
        ({"dilations": (4,), "dropout": 0.1}, "two layers or more"),
    ],
)
def test_what_contradicts_itself_is_refused(how, says):
    with pytest.raises(SettingError, match=says):
        Recurrence("gru", H, **how)


def test_settings_are_the_same_from_lists_and_say_the_depth():
    a = Recurrence("gru", H, dilations=[[1, 3], [6, 12]], skip_connections=True)
    assert a == Recurrence("gru", H, 4, dilations=((1, 3), (6, 12)), skip_connections=True)
    assert a.num_layers == 4


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [torch.nn.GRU(F, H)],
        [GRU(F, H, 2)],
        [GRU(F, H, batch_first=True)],
        [GRU(F, H), GRU(F, H)],
        [GRU(F, H), LSTM(H, H)],
        [RNN(F, H), RNN(H, H + 1)],
    ],
)
def test_layers_that_do_not_fit_on_each_other_are_refused(layers):
    with pytest.raises(SettingError, match="alike"):
        Stack(layers)


def test_as_many_dilations_as_layers_and_a_state_of_their_shape():
    stack = Stack([GRU(F, H), GRU(H, H)], (1, 2))
    with pytest.raises(SettingError, match=r"states of shape \[3, 2, 4\], found \[2, 2, 4\]"):
        stack(torch.zeros(5, 2, F), torch.zeros(2, 2, H))
    with pytest.raises(SettingError, match="one dilation for each of 1 layers"):
        Stack([GRU(F, H)], (1, 2))
