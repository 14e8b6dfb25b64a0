"""What was left open, decided from the data before the fit.

deciding        season, effort, transforms, scale, look-back
scale_choice    scaling, naive base and look-back, by a linear map
choosing        the architecture, by a race
doctor          a cure, by what gradients reach
budget          how many updates a number of seconds has room for
plan            what was decided, and the number of updates
plans           one for each group of members
trial           whether the pretrained net stays, by the first rolling origin
"""
