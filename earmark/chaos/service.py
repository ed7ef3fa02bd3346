"""``python -m earmark.chaos.service CONFIG``: as ``earmark run CONFIG``, where the streamer may send to a proxy."""

import sys
from pathlib import Path

from earmark.app.load import load_service
from earmark.app.process import stop_on_signals
from earmark.app.service import supervise
from earmark.telemetry.logs import configure_logging

if __name__ == "__main__":
    stop = stop_on_signals()
    path = Path(sys.argv[1])
    service = load_service(path)
    configure_logging("supervisor")
    sys.exit(supervise(path, service.config, stop))
