"""Pages of the catalogue: models, providers, prices, what a workload costs and what changed."""
