"""What torch.func.vmap is made of, where this PyTorch has it by the names that we know.

No public call says whether a vmap is at work, or opens and closes what it maps over, and vmap itself
takes longer than an update of small nets. Where a name has gone, `INSIDE` is None: nothing then says
that it is in one vmap, and ensembles go the public way, to the same numbers, but slower.
"""

from __future__ import annotations

from typing import Any

import torch

NAMES = (
    *("_vmap_increment_nesting", "_vmap_decrement_nesting", "_add_batch_dim", "_remove_batch_dim"),
    *("_unwrap_batched", "get_interpreter_stack", "TransformType"),
    *("maybe_current_level", "pop_dynamic_layer_stack", "push_dynamic_layer_stack"),
)


def inside() -> Any:
    """Return the module of private calls, or None where it lacks one of them."""
    found = getattr(torch._C, "_functorch", None)
    return found if all(hasattr(found, name) for name in NAMES) else None


INSIDE: Any = inside()
