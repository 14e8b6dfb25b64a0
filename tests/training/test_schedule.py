import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import SGD, lr_scheduler

from throughtime.training.schedule import learning_rate


def rates_of(make, total):
    optimiser = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimiser)
    rates = []
    for _ in range(total):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("total", [7, 40, 1000])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("constant", lambda o, n: lr_scheduler.ConstantLR(o, factor=1.0)),
        ("cosine", lambda o, n: lr_scheduler.CosineAnnealingLR(o, n)),
        (
            "one-cycle",
            lambda o, n: lr_scheduler.OneCycleLR(o, 0.3, n + 1, cycle_momentum=False),
        ),
    ],
)
def test_equals_the_schedulers_of_torch(name, make, total):
    # torch's one-cycle refuses to be stepped past its end, hence a cycle one longer, cut
    length = total + 1 if name == "one-cycle" else total
    theirs = rates_of(lambda o: make(o, total), total)
    ours = [learning_rate(name, 0.3, k, length, 0) for k in range(total)]
    assert ours == pytest.approx(theirs, rel=1e-9)


@given(
    name=st.sampled_from(["constant", "cosine", "one-cycle"]),
    total=st.integers(1, 50),
    warm_up=st.integers(0, 60),
)
def test_rates_stay_above_zero_and_at_most_at_the_peak(name, total, warm_up):
    rates = [learning_rate(name, 0.3, k, total, warm_up) for k in range(total)]
    assert all(0 < rate <= 0.3 for rate in rates)


def test_warm_up_is_linear_and_meets_the_schedule():
    rates = [learning_rate("cosine", 1.0, k, 20, 4) for k in range(20)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[4:] == sorted(rates[4:], reverse=True)
