"""What a forecaster is made of in a file: each part packed into a snapshot, and checked on its way back.

given      its arguments              model      the design, the maps A_k and the nets
panel      the series                 state      what `update` carries on
backtest   its rolling origins        spread     how far series lie from their forecasts
checking   what is asked of every number and text that is read
"""
