"""``python -m earmark.app`` is ``earmark``."""

import os

from earmark.app.lifeline import LIFELINE_VARIABLE, wake_with_parent

if LIFELINE_VARIABLE in os.environ:
    wake_with_parent()  # before the second or two that the rest of the program takes to load

from earmark.app.cli import main

main()
