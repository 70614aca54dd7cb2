"""Runs one model on one device. Knows torch; knows nothing of HTTP, databases, money or dialects."""
