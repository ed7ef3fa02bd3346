"""The streamer: sources of audio, resampled into a ring buffer per stream, sent to an engine until it says keep no more."""
