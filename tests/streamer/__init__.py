"""The streamer, part by part and over real sockets."""
