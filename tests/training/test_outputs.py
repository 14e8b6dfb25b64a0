import pytest
import torch

from throughtime import SettingError
from throughtime.nn.heads import QuantileHead
from throughtime.training import OUTPUTS, output


@pytest.mark.parametrize("name", OUTPUTS)
def test_head_and_loss_go_together_and_learn(name):
    torch.manual_seed(0)
    head, loss = output(name, hidden_size=4, outputs=2)
    hidden, y = torch.randn(128, 4), torch.poisson(torch.full((128, 2), 3.0))
    adam = torch.optim.Adam(head.parameters(), lr=0.1)
    values = []
    for _ in range(150):
        value = loss(head(hidden), y)
        adam.zero_grad()
        value.backward()
        adam.step()
        values.append(value.item())
    assert values[-1] < 0.9 * values[0]
    middle = head.quantile(head(hidden), 0.5)
    assert middle.mean().item() == pytest.approx(3.0, abs=0.6)


def test_levels_reach_head_and_loss():
    head, loss = output("quantiles", 4, 1, levels=(0.2, 0.8))
    assert isinstance(head, QuantileHead)
    assert head.levels == loss.levels == (0.2, 0.8)


def test_an_unknown_output_is_refused():
    with pytest.raises(SettingError, match="output to be one of 'point', 'quantiles'"):
        output("gausian", 4)
