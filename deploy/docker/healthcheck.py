"""Fails unless every process is healthy: ``python healthcheck.py PORT...``, the ports of the section ``telemetry``."""

import sys
from http.client import HTTPConnection

for port in sys.argv[1:]:
    connection = HTTPConnection("127.0.0.1", int(port), timeout=4)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"port {port}: {response.read().decode()}")
