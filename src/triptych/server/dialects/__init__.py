"""The wire forms that are spoken here. Each translates to and from one `Generation` and knows no business rule."""
