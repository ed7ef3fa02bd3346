"""Sounds that the project makes itself, with known onsets and offsets: the demo's scene, a test fixture, an augmentation."""
