"""Sounds that the project makes itself, with known onsets and offsets: for the demo, tests and training."""
