"""The publishers: one sink a file, each with a durable cursor over the outbox."""
