"""Stored bytes with an owner and an end."""
