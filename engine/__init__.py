"""The engine: blocks in, model steps over batches of all streams, smoothed events into the outbox."""
