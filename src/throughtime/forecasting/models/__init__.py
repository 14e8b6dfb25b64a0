"""What forecasts: recurrent nets, what goes beside them, and what they carry on.

nets          what the trained nets say
linear        a linear autoregression, iterated
ridge         a linear map from a window to all steps
smoothing     exponential smoothing, by a grid of settings
companions    these and other forecasts in closed form, beside the nets
model         all of them together, as one forecast
committee     several models as one
weighing      their weights, by how they erred
carrying      nets that go on from step to step
state         what is carried of every series
"""
