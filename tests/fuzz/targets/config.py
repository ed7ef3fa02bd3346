"""The configuration's file, as people write it."""

import re
import tempfile
from pathlib import Path

from earmark.app.load import load_config
from earmark.contracts.bundle import shipped
from earmark.contracts.errors import ConfigError

_ENVIRONMENT = {"PASSWORD": "a secret that is long enough"}
_path = Path(tempfile.mkdtemp(prefix="earmark-fuzz-")) / "earmark.yaml"
SEEDS = [
    *(file.read_bytes() for file in sorted(shipped("configs").glob("*.yaml"))),
    b"streams: &s {gate: {source: url, url: 'rtsp://u:${PASSWORD}@host/p', labels: {siren: {onset_threshold: 0.6}}}}\n",
    b"engine: {bind: ['tcp://127.0.0.1:7701'], max_fill_s: 1e-1, groups: {animals: {labels: [dog, cat]}}}\n",
    b"publishers:\n  zeromq: null\n  http: {port: 0x50}\n  webhooks:\n    a: {url: 'https://h/', secret: ${PASSWORD}}",
    b"<<: {streamer: {ring_s: .inf}}\nstreams: {a: {source: silence}, a: {source: stdin, channels: 070}}\n",
    b"outbox: {max_size_mb: !!int '7'}\ntelemetry: !!map {engine: !!str ''}\n",
]


def check(data: bytes) -> None:
    _path.write_bytes(data)
    try:
        config = load_config(_path, _ENVIRONMENT)
    except ConfigError as error:
        # Every line says where.
        assert all(re.match(rf"{_path}:(\d+:)? ", line) for line in str(error).splitlines()), str(error)
        return
    assert type(config).model_validate(config.model_dump()) == config
    assert config.streams
