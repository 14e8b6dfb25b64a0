"""From a design and a panel to a model.

fitting           how many updates are enough, and the fit
preprogramming    before it: the nets imitate a forecast that is known
resuming          the runs of training of a fit, which goes on where it was killed
fitted            what a fit leaves behind
"""
