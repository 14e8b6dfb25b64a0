"""What nets learn from: windows on a scale, and what an error in them counts.

scaled        windows on their own scale, less a naive forecast
running       windows on a scale that moves on with its series
importance    what an error counts, in the units of MASE and sMAPE
"""
