"""Floor 4. From a table of series to forecasts with honest intervals."""
