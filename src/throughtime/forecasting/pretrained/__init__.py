"""A net that was trained before, on simulated series, and forecasts those it has never seen.

reading       what it reads of a window, and the unit it answers in
net           the net, its file of weights, and its forecasts
teaching      what a panel of very many series adds
"""
