"""``python -m earmark.app`` is ``earmark``."""

from earmark.app.cli import main

main()
