"""What a user gives: tables of series, brought onto their grids, and what of them a net may read.

panel        all series in one buffer: what every other room works on
frequency    the grids that dates may lie on
columns, tables       whatever holds a table, and its columns as arrays
frame, parquet        a panel from a table, or from a file a piece at a time
covariates, statics   tables beside it: what is known ahead, and what never changes
demands      what a panel must have before anything is learned from it
seasons      the length of the season
calendar     where a date lies in the cycles of the calendar
channels     what a net reads beside the targets
windows      every window of every series
"""
