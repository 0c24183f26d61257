"""Crystal → vector: batches, neighbours, and differentiable invariant descriptors."""
