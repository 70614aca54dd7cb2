"""Replicate's HTTP API over the durable predictions: what its clients send and read, and nothing else."""
