"""Metrics, tuning and reports: how good a bundle is, measured on labelled audio."""
