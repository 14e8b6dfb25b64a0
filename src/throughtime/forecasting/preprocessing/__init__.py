"""The scale on which nets read and answer, and the way back to the units of the series.

transforms     what is done to each value: u = f(y)
scaling        where a window lies and how wide it is: z = (u - location) / size
residuals      the naive forecast that a net begins from
differences    what is read in place of the values
steps          how far a series moves in a step
"""
