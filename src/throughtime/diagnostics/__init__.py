"""Floor 3. Measures only: how gradients travel through time."""
