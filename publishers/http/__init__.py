"""HTTP: REST over the outbox, events as they happen (SSE), what streams sound like now, and the page that shows it."""
