"""Webhooks: each event, or some at once, as a POST of CloudEvents to somebody's server."""
