"""Floor 2. Losses, truncation, clipping, the loop, checkpoints."""
