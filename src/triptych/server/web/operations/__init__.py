"""Pages for those who run a server: predictions, webhooks, models, keys, usage, and the way in."""
