"""Ω equals brute force, series by series and step by step, and training with it reaches further."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from training_cases import SequenceNet, sequence

from throughtime import DataError, SettingError
from throughtime.diagnostics import lag_profile
from throughtime.nn import (
    GRU,
    LSTM,
    RNN,
    Ensemble,
    LayerNormLSTM,
    PointHead,
    Recurrence,
    SequenceInput,
    recording,
)
from throughtime.training import (
    TensorExamples,
    Trainer,
    TrainingSettings,
    Truncation,
    Vanishing,
    losses,
    vanishing_penalty,
)
from throughtime.training.run import Run
from throughtime.training.sources import ExampleSource

T, B, FEATURES, H = 5, 3, 2, 3


def affine(layer, kind, suffix, v, d=None):
    v = v if d is None else v * d
    y = v @ getattr(layer, f"weight_{kind}{suffix}").T
    return y + getattr(layer, f"bias_{kind}{suffix}") if layer.bias else y


def rnn_step(layer, s, d, x, h):
    a = affine(layer, "ih", s, x) + affine(layer, "hh", s, h, d)
    return (torch.tanh(a) if layer.mode == "RNN_TANH" else torch.relu(a),)


def gru_step(layer, s, d, x, h):
    (x_r, x_z, x_n), from_h = affine(layer, "ih", s, x).chunk(3), affine(layer, "hh", s, h, d)
    h_r, h_z, h_n = from_h.chunk(3)
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    if layer.reset == "before":
        U_n, b_n = (getattr(layer, name + s).chunk(3)[2] for name in ("weight_hh", "bias_hh"))
        n = torch.tanh(x_n + U_n @ (r * (h if d is None else h * d)) + b_n)
    else:
        n = torch.tanh(x_n + r * h_n)
    return ((1 - z) * n + z * h,)


def lstm_step(layer, s, d, x, h, c):
    if isinstance(layer, LayerNormLSTM):
        w, u = x @ getattr(layer, "weight_ih" + s).T, h @ getattr(layer, "weight_hh" + s).T
        a = getattr(layer, "gamma_ih" + s) * norm(w) + getattr(layer, "gamma_hh" + s) * norm(u)
        a = a + getattr(layer, "bias_ih" + s) + getattr(layer, "bias_hh" + s)
    else:
        a = affine(layer, "ih", s, x) + affine(layer, "hh", s, h, d)
    i, f, g, o = a.chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    seen = c
    if isinstance(layer, LayerNormLSTM):
        seen = getattr(layer, "gamma_c" + s) * norm(c) + getattr(layer, "beta_c" + s)
    m = o.sigmoid() * seen.tanh()
    return (m @ getattr(layer, "weight_hr" + s).T if layer.proj_size else m), c


def norm(v):
    return torch.nn.functional.layer_norm(v, v.shape)


def step(layer, s, d, x, *state):
    """Return the next state, `d` being the dropout on the way to U."""
    proposed = {RNN: rnn_step, GRU: gru_step}.get(type(layer), lstm_step)(layer, s, d, x, *state)
    ζ = layer.zoneout
    return tuple(
        ζ * before + (1 - ζ) * after for before, after in zip(state, proposed, strict=True)
    )


def unroll(layer, x, d=None):
    """Run one series [T, I]; return the output, and (suffix, inputs, states) of each direction.

    States are copies between one step and the next, so that gradients at c leave out c -> h.
    """
    runs = []
    for depth in range(layer.num_layers):
        outputs = []
        for direction in range(1 + layer.bidirectional):
            s, inputs = f"_l{depth}" + "_reverse" * direction, x.flip(0) if direction else x
            widths = layer._widths()
            states = [tuple(torch.zeros(w, dtype=x.dtype, requires_grad=True) for w in widths)]
            for x_t in inputs:
                states.append(tuple(v.clone() for v in step(layer, s, d, x_t, *states[-1])))
            runs.append((s, inputs, states))
            h = torch.stack([state[0] for state in states[1:]])
            outputs.append(h.flip(0) if direction else h)
        x = torch.cat(outputs, -1)
    return x, runs


def brute_force(layer, series, loss, dropout=None):
    """Sum the definition over every step of every series, with the whole Jacobian each time."""
    total = torch.zeros((), dtype=torch.float64)
    for b, x in enumerate(series):
        d = None if dropout is None else dropout[b]
        output, runs = unroll(layer, x, d)
        for s, inputs, states in runs:
            flat = [part for state in states for part in state]
            given = torch.autograd.grad(loss(output, b), flat, retain_graph=True, allow_unused=True)
            given = [
                torch.zeros_like(v) if g is None else g for g, v in zip(given, flat, strict=True)
            ]
            S = len(states[0])
            for t, x_t in enumerate(inputs.detach()):
                λ = torch.cat(given[(t + 1) * S : (t + 2) * S])
                if λ.norm() == 0:
                    continue
                widths = [part.numel() for part in states[t]]

                def one(state, s=s, d=d, x_t=x_t, widths=widths):
                    return torch.cat(step(layer, s, d, x_t, *state.split(widths)))

                at = torch.cat(states[t]).detach()
                J = torch.autograd.functional.jacobian(one, at, create_graph=True)
                total = total + ((λ @ J).norm() / λ.norm() - 1) ** 2
    return total / len(series)


LAYERS = {
    "tanh": lambda **how: RNN(FEATURES, H, **how),
    "relu": lambda **how: RNN(FEATURES, H, nonlinearity="relu", **how),
    "gru": lambda **how: GRU(FEATURES, H, **how),
    "gru reset before": lambda **how: GRU(FEATURES, H, reset="before", **how),
    "lstm": lambda **how: LSTM(FEATURES, H, **how),
    "projected lstm": lambda **how: LSTM(FEATURES, H + 2, proj_size=H, **how),
    "layer norm lstm": lambda **how: LayerNormLSTM(FEATURES, H, **how),
}
FORMS = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both ways": {"num_layers": 2, "bidirectional": True},
}


def build(cell, **how):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layer = LAYERS[cell](**how).double()
        for p in layer.parameters():
            torch.nn.init.normal_(p, std=0.6)
        return layer, torch.randn(T, B, FEATURES).double(), torch.randn(T, 2 * H).double()


def gradients(value, layer):
    found = torch.autograd.grad(value, list(layer.parameters()), allow_unused=True)
    pairs = zip(found, layer.parameters(), strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


def agree(omega, expected, layer):
    torch.testing.assert_close(omega, expected, rtol=1e-11, atol=1e-12)
    for ours, theirs in zip(gradients(omega, layer), gradients(expected, layer), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cell", LAYERS)
def test_omega_and_its_gradient_are_those_of_whole_jacobians(cell, form):
    layer, x, r = build(cell, **FORMS[form])
    with recording(layer) as records:
        output, _ = layer(x)
    (output * r[:, None, : output.shape[-1]]).sum().backward()
    expected = brute_force(
        layer, x.unbind(1), lambda output, b: (output * r[:, : output.shape[-1]]).sum()
    )
    assert expected > 0.1
    agree(vanishing_penalty(records), expected, layer)


@pytest.mark.parametrize("cell", ["tanh", "gru", "lstm"])
@pytest.mark.parametrize("both", [False, True])
def test_padding_has_no_part_in_it(cell, both):
    layer, x, r = build(cell, bidirectional=both, num_layers=2)
    lengths = [5, 2, 4]
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    with recording(layer) as records:
        output, _ = layer(packed)
    order = [(t, b) for t in range(T) for b in packed.sorted_indices.tolist() if t < lengths[b]]
    (output.data * torch.stack([r[t, : output.data.shape[-1]] for t, _ in order])).sum().backward()
    series = [x[:length, b] for b, length in enumerate(lengths)]
    expected = brute_force(
        layer, series, lambda output, b: (output * r[: len(output), : output.shape[-1]]).sum()
    )
    agree(vanishing_penalty(records), expected, layer)


def test_steps_that_no_gradient_reaches_have_no_part_in_it():
    layer, x, _ = build("gru")
    with recording(layer) as records:
        output, _ = layer(x)
    output[1].sum().backward()
    agree(
        vanishing_penalty(records),
        brute_force(layer, x.unbind(1), lambda output, b: output[1].sum()),
        layer,
    )


def test_a_layer_that_runs_again_and_again_has_a_part_each_time():
    layer, x, r = build("lstm")
    with recording(layer) as records:
        state, outputs = None, []
        for x_t in x:
            output, state = layer(x_t[None], state)
            outputs.append(output)
    (torch.cat(outputs) * r[:, None, :H]).sum().backward()
    assert len(records) == T
    expected = brute_force(layer, x.unbind(1), lambda output, b: (output * r[:, :H]).sum())
    agree(vanishing_penalty(records), expected, layer)


@pytest.mark.parametrize("cell", ["tanh", "gru", "gru reset before", "lstm"])
@pytest.mark.parametrize("both", [False, True])
def test_zoneout_is_a_part_of_the_jacobian(cell, both):
    layer, x, r = build(cell, zoneout=0.3, bidirectional=both)
    layer.eval()  # s_t = 0.3 s_{t-1} + 0.7 s̃_t
    with recording(layer) as records:
        output, _ = layer(x)
    r = r[:, : output.shape[-1]]
    (output * r[:, None]).sum().backward()
    expected = brute_force(layer, x.unbind(1), lambda output, b: (output * r).sum())
    agree(vanishing_penalty(records), expected, layer)


@pytest.mark.parametrize("cell", ["tanh", "gru", "gru reset before", "lstm"])
def test_recurrent_dropout_is_a_part_of_the_jacobian(cell):
    layer, x, r = build(cell, recurrent_dropout=0.5)
    with recording(layer) as records:
        output, _ = layer(x)
    (output * r[:, None, :H]).sum().backward()
    d = records[0].inputs[-2 if cell != "lstm" else -3]
    assert (d == 0).any()
    expected = brute_force(layer, x.unbind(1), lambda output, b: (output * r[:, :H]).sum(), d)
    agree(vanishing_penalty(records), expected, layer)


def test_zoneout_that_is_drawn_keeps_what_it_keeps():
    layer, x, _ = build("tanh", zoneout=0.5, bidirectional=True)
    with recording(layer) as records:
        output, _ = layer(x)
    output.sum().backward()
    for record in records:
        for p in layer.parameters():
            p.data.zero_()  # then a unit hands on all of its gradient or none: J = diag(ζ_t)
        ζ, λ = record.inputs[-1].double(), record.tap.dh_TBH
        ratio = (λ * ζ).norm(dim=-1) / λ.norm(dim=-1)
        expected = ((ratio - 1) ** 2).sum() / B
        torch.testing.assert_close(vanishing_penalty([record]), expected)


# In training


def reader(cell="rnn", seed=0, members=None):
    def build():
        return SequenceInput(1, Recurrence(cell, 6), PointHead(6)).double()

    if members:
        return Ensemble(build, members, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def first_value(count=16, length=12):
    """The target is the first of the inputs: only a gradient that goes all the way back helps."""
    x = torch.randn(count, length, 1, generator=torch.Generator().manual_seed(4)).double()
    return TensorExamples(x, x[:, 0])


def gradient_of_an_update(model, data, penalties):
    """Return the gradient [E, N] that one update of the trainer had, before clipping."""
    settings = TrainingSettings(max_updates=1, penalties=penalties)
    generator = torch.Generator().manual_seed(0)
    source = ExampleSource(model, data, None, settings, generator)
    run = Run(model, losses.mse, settings, source, generator)
    run.update()
    return run.matrix.gradient()


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_training_adds_its_gradient_to_that_of_the_loss(cell):
    data = first_value()
    plain = gradient_of_an_update(reader(cell), data, ())
    both = gradient_of_an_update(reader(cell), data, (Vanishing(0.7),))
    model = reader(cell)
    r, y = model.head.linear, data.targets[:, 0]

    def loss(output, b):
        return (output[-1] @ r.weight[0] + r.bias[0] - y[b]) ** 2

    layer = model.layer
    omega = brute_force(layer, data.inputs.unbind(0), loss)
    found = torch.cat([g.flatten() for g in gradients(0.7 * omega, layer)])
    assert found.norm() > 0.1
    names = [name for name, _ in model.named_parameters()]
    assert names.index("head.linear.weight") == 0
    torch.testing.assert_close((both - plain)[0, 7:], found, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(both[0, :7], plain[0, :7])


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_each_member_of_an_ensemble_has_its_own(cell):
    data, ensemble = first_value(), reader(cell, members=3)
    singles = [ensemble.member(e) for e in range(3)]
    rows = gradient_of_an_update(ensemble, data, (Vanishing(0.7),))
    for e, single in enumerate(singles):
        alone = gradient_of_an_update(single, data, (Vanishing(0.7),))
        torch.testing.assert_close(rows[e], alone[0], rtol=1e-10, atol=1e-12)


def test_the_loss_that_is_told_is_the_datas():
    data = first_value()
    told = []
    for penalties in ((), (Vanishing(10.0),)):
        settings = TrainingSettings(max_updates=1, penalties=penalties)
        told += Trainer(reader(), losses.mse, settings).fit(data).updates
    assert told[0].loss == pytest.approx(told[1].loss, rel=1e-12)
    assert told[1].grad_norm > told[0].grad_norm


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_training_with_it_makes_the_gradient_reach_further_back(cell):
    x, norms = first_value().inputs, []
    data = TensorExamples(x, x[:, -1])  # nothing in the data asks for a memory
    for penalties in ((), (Vanishing(0.1),)):
        model = reader(cell)
        settings = TrainingSettings(max_updates=60, learning_rate=0.02, penalties=penalties)
        Trainer(model, losses.mse, settings).fit(data)
        [profile] = lag_profile(model, data.inputs, data.targets, losses.mse)
        norms.append(profile.norms)
    plain, penalised = norms
    assert penalised[-1] > 10 * plain[-1]
    assert penalised[-1] > 0.1


def test_weights_that_are_made_by_a_parametrisation_learn_from_it():
    model = reader()
    torch.nn.utils.parametrizations.orthogonal(model.layer, "weight_hh_l0")
    before = model.layer.weight_hh_l0.detach().clone()
    settings = TrainingSettings(max_updates=3, penalties=(Vanishing(1.0),))
    Trainer(model, losses.mse, settings).fit(first_value())
    after = model.layer.weight_hh_l0.detach()
    assert not torch.equal(after, before)
    torch.testing.assert_close(after @ after.T, torch.eye(6).double())


class OurSequenceNet(SequenceNet):
    def __init__(self):
        super().__init__()
        self.layer = LSTM(1, 5, batch_first=True)


def test_sequences_are_penalised_reach_by_reach():
    settings = TrainingSettings(
        max_updates=3, truncation=Truncation(10, 20), penalties=(Vanishing(1.0),)
    )
    history = Trainer(OurSequenceNet(), losses.mse, settings).fit_sequence(*sequence())
    assert len(history.updates) == 3


def test_what_it_cannot_work_on_is_refused():
    with pytest.raises(DataError, match=r"at least one layer of throughtime\.nn"):
        Trainer(
            SequenceNet(), losses.mse, TrainingSettings(penalties=(Vanishing(1.0),))
        ).fit_sequence(*sequence())
    layer, x, _ = build("gru")
    with recording(layer) as records:
        layer(x)
    with pytest.raises(DataError, match=r"loss\.backward\(\) first"):
        vanishing_penalty(records)
    with pytest.raises(SettingError, match="strength"):
        Vanishing(-1.0)
