"""Soundscapes, augmentation, torch models, the training loop, export to a bundle. Never imported at run time."""
