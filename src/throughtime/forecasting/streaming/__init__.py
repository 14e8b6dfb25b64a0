"""A forecaster that goes on as rows arrive.

rows        new rows of a table, brought to their places
learning    truncated BPTT through the newest steps
stream      all that `update` moves on
"""
