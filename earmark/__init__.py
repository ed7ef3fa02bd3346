"""Earmark: listens to many microphones and tells when each sound began and ended."""
