"""How good forecasts are: what they have to beat, and what they are judged by.

metrics            errors of points, quantiles and intervals
baselines          forecasts that a model has to beat
backtest           forecasts at rolling origins, beside baselines
at_origins         a panel as it was known at many origins
scores             of the forecasts in a table, whoever made them, with
  forecast_columns   what its columns are
  places             where its rows lie
views              what figures and reports show
"""
