"""Pure drawing: from plain numbers, as `to_dict()` returns them, to plotly figures.

Nothing here measures, and nothing here needs torch; plotly is imported when the first figure is drawn.
"""

from throughtime.drawing import doctor, forecasts
from throughtime.drawing.dynamics import long_jacobian, lyapunov, singular_values
from throughtime.drawing.heat import heat_map
from throughtime.drawing.learning import learning_curve
from throughtime.drawing.memory import lag_profile, truncation_bias
from throughtime.drawing.openings import gates
from throughtime.drawing.search import trials
from throughtime.drawing.updates import gradient_history

__all__ = [
    "doctor",
    "forecasts",
    "gates",
    "gradient_history",
    "heat_map",
    "lag_profile",
    "learning_curve",
    "long_jacobian",
    "lyapunov",
    "singular_values",
    "trials",
    "truncation_bias",
]
