"""Notifications: what was heard, in a sentence, on a phone or wherever Apprise reaches."""
