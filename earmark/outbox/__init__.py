"""The durable log between engine and publishers: events, checkpoints and cursors in SQLite."""
