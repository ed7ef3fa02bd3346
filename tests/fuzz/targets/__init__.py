"""One input of Earmark a file: ``SEEDS``, to begin with, and ``check``, which raises where something is wrong."""
