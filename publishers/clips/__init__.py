"""An event's scores, and its sound where the stream allows it, as files beside each other."""
