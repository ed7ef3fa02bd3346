"""The streamer: sources of sound, resampled into a ring a stream, sent to an engine until it says keep no more."""
