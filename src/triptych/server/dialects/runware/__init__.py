"""Runware's tasks over the durable predictions: what its clients send and read, over HTTP and over WebSockets."""
