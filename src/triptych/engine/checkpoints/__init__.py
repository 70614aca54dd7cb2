"""From a checkpoint's files, here or on a hub, to a model in memory."""
