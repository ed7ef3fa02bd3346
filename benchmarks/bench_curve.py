"""What CURVE costs the engine, and what the delay of honest streams is while others attack it.

The engine is the real process. Honest streams come in real time from one client; streams leave and join all the time,
and each that leaves tells how long the way from its last block to a durable decision was (`earmark bench streams` does
the same). Attackers are one more process: a known key that sends blocks of a stream that is not its own as fast as it
can, or a key that nobody knows, which connects again and again from 50 sockets.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import yaml
import zmq

from benchmarks.measuring import print_table, read_values
from earmark.benchmark.generator import generate
from earmark.benchmark.pinning import on_core
from earmark.benchmark.processes import Service, running
from earmark.benchmark.realtime import make_load, percentiles
from earmark.benchmark.settings import Settings
from earmark.contracts.curve import CurveClient, CurveServer, connect_encrypted, make_key_pair, read_public_key
from earmark.contracts.streams import AudioBlock
from earmark.contracts.wire import encode_records
from earmark.links.allowed import Client, change_allow_list

WARM_UP_S, N_SOCKETS, BLOCK = 2.0, 50, 32_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    settings = Settings.here("urban", Path("../shared/data"), Path(), quick=False)
    cases: list[tuple[str, bool, Callable[[str, CurveClient], None] | None]] = [
        ("plain", False, None),
        ("CURVE", True, None),
        ("CURVE, a known key floods with another's stream", True, flood),
        ("CURVE, an unknown key connects again and again", True, knock),
    ]
    rows: list[list[object]] = []
    for name, is_encrypted, attack in cases:
        rows.append([name, *_measure(settings, attack, is_encrypted=is_encrypted, **vars(arguments))])
        print(f"{name}: done", file=sys.stderr)
    print_table(["links", "delay p50, ms", "p99, ms", "engine's share of its core", "refused", "streams lost"], rows)


def _measure(
    settings: Settings,
    attack: Callable[[str, CurveClient], None] | None,
    *,
    is_encrypted: bool,
    streams: int,
    seconds: float,
) -> list[object]:
    bundle = settings.load()
    with tempfile.TemporaryDirectory(prefix="earmark-keys-") as folder, running(bundle) as service:
        server, honest, thief = _keys(Path(folder), is_known=attack is flood)
        if is_encrypted:
            _ask_for_keys(service, server)
        service.start("engine", settings.cores.measured)
        load = replace(make_load(settings, bundle, service, streams), warm_up_s=WARM_UP_S, audio_s=seconds)
        attacker = _start(attack, load.engine, thief)
        try:
            sent = on_core(settings.cores.load, generate, load, honest if is_encrypted else None)
        finally:
            if attacker is not None:
                attacker.kill()
                attacker.join()
        n_refused = round(sum(read_values(service.metrics_at, "earmark_refused_records_total")))
    p50_ms, p99_ms = percentiles(np.asarray(sent.delays_ms))
    return [p50_ms, p99_ms, f"{sent.engine_busy:.0%}", n_refused, sent.unanswered]


def _keys(folder: Path, *, is_known: bool) -> tuple[CurveServer, CurveClient, CurveClient]:
    """The engine's, an honest client's and an attacker's."""
    (server, server_public), (honest, public), (thief, thief_public) = (
        make_key_pair(folder, name) for name in ("server", "honest", "thief")
    )
    clients = {"honest": Client(key=read_public_key(public).decode(), streams=("*",))}
    if is_known:
        clients["thief"] = Client(key=read_public_key(thief_public).decode(), streams=("its-own",))
    change_allow_list(folder / "allow.yaml", lambda allowed: allowed.update(clients))
    return (
        CurveServer(key_file=server, allow_file=folder / "allow.yaml"),
        CurveClient(key_file=honest, server_key_file=server_public),
        CurveClient(key_file=thief, server_key_file=server_public),
    )


def _ask_for_keys(service: Service, server: CurveServer) -> None:
    document = yaml.safe_load(service.config.read_text("utf-8"))
    document["engine"] |= {"curve": server.model_dump(mode="json"), "max_client_streams": 4096, "max_client_mb_s": 1e3}
    service.config.write_text(yaml.safe_dump(document), "utf-8")


def _start(attack: Callable[[str, CurveClient], None] | None, engine: str, thief: CurveClient) -> BaseProcess | None:
    if attack is None:
        return None
    process = multiprocessing.get_context("spawn").Process(target=partial(attack, engine, thief), daemon=True)
    process.start()
    return process


def flood(engine: str, thief: CurveClient) -> None:
    """Send two seconds of audio a message, of somebody else's stream, as fast as it goes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    push = context.socket(zmq.PUSH)
    connect_encrypted(push, thief)
    push.connect(engine)
    message = encode_records([AudioBlock("s0", 1, 0, 1, 16_000, BLOCK, np.zeros(BLOCK, np.int16))])
    while True:
        push.send(message)


def knock(engine: str, thief: CurveClient) -> None:
    """Connect, be refused, and connect again at once."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = [context.socket(zmq.PUSH) for _ in range(N_SOCKETS)]
    for push in sockets:
        connect_encrypted(push, thief)
        push.setsockopt(zmq.RECONNECT_IVL, 1)
        push.setsockopt(zmq.RECONNECT_IVL_MAX, 1)
        push.setsockopt(zmq.HANDSHAKE_IVL, 100)
        push.connect(engine)
    multiprocessing.Event().wait()


if __name__ == "__main__":
    main()
