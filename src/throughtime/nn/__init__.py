"""Floor 1. Parameters: layers, cells, initialisers, heads, the five shapes of sequence work."""
