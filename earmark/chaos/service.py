"""``python -m earmark.chaos.service CONFIG``: as ``earmark run CONFIG``, where the streamer may send to a proxy."""

import sys
from pathlib import Path

from earmark.app.live_config import LiveConfig
from earmark.app.load import service_in
from earmark.app.process import follow_signals
from earmark.app.service import supervise
from earmark.telemetry.logs import configure_logging

if __name__ == "__main__":
    signals = follow_signals(dies_of_second=False)
    live = LiveConfig.read(Path(sys.argv[1]), service_in)
    configure_logging("supervisor", live.config.telemetry.log_level)
    sys.exit(supervise(live, signals))
