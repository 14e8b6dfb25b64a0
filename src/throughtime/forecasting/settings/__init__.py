"""All that says how a forecaster forecasts: what it is given, and what stands before a fit.

given      the arguments, checked; None stands for what the data decide
members    which nets make one forecast, and how they are combined
cures      what keeps gradients from vanishing and exploding
effort     the size and training of nets, by how much there is to learn from
design     all of it, nothing left open
"""
