"""The API process: one port, three dialects, durable records. asyncio, no torch."""
