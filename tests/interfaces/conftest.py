import sys
from types import ModuleType

import pytest
from stand_in import StandIn


@pytest.fixture
def forecaster(monkeypatch):
    """The command line with the stand-in in the place of the forecaster."""
    module = ModuleType("throughtime.forecasting.forecaster")
    module.Forecaster = StandIn
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return StandIn
