"""From errors at rolling origins to intervals that hold what they say.

conformity    how far a value lies from its forecast, in a unit that is the same everywhere
intervals     how far that usually is: the calibration
spread        how far each series lies from its forecasts, where errors of several are pooled
widths        what the past of a series says of that, learned from many
copula        what ties the steps of a horizon together
online        widths that follow their coverage, as a stream drifts
"""
