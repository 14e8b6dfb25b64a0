"""Floor 0. Recurrences as pure functions on tensors, each with its hand-derived adjoint."""
