"""Durable records of what is asked: acknowledged once they are stored, run to their end once, whatever dies."""
