"""Who computes which tokens next, and which blocks hold what they computed. No tensors."""
