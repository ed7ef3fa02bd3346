"""The whole streamer over real sockets against an engine's end that the test plays."""

import threading
import wave

import av
import numpy as np
import pytest
import structlog

import streamer.sender
from earmark.contracts.curve import CurveClient
from earmark.contracts.errors import ConfigError, SourceError
from earmark.contracts.streams import AudioBlock, GapReason
from earmark.telemetry.metrics import REGISTRY
from streamer.capture import Capture
from streamer.config import FileSource, MicrophoneSource, SilenceSource, StdinSource, StreamerConfig, UrlSource
from streamer.feed import AHEAD_S
from streamer.sender import Wake, find_engine
from streamer.service import Streamer
from tests.streamer.fake import EngineEnd, has_ended, put_together, running
from tests.support.ports import free_address
from tests.support.waiting import DEADLINE_S, wait_for

EPOCH = 77


@pytest.fixture
def address(tmp_path_factory):
    return f"ipc://{tmp_path_factory.mktemp('s')}/e"


def sound_file(folder, n, seed=0, rate_hz=16_000, name="a.wav"):
    pcm = np.random.default_rng(seed).integers(-20_000, 20_000, n).astype(np.int16)
    with wave.open(str(folder / name), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.tobytes())
    return folder / name, pcm


def fast(path, **settings):
    return FileSource(path=path, pace="fast", **settings)


def config(*engines, ring_s=30.0):
    return StreamerConfig(engines=engines, ring_s=ring_s)


def acking(keep_sample, resend_from=-1, stream="gate", epoch=EPOCH):
    return lambda engine: engine.ack(stream, epoch, keep_sample, resend_from)


def captured(stream):
    return REGISTRY.get_sample_value("earmark_captured_samples_total", {"stream": stream})


def stream_up(stream):
    return REGISTRY.get_sample_value("earmark_stream_up", {"stream": stream})


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_a_file_arrives_whole_and_the_streamer_ends_when_all_is_acknowledged(tmp_path, address, transport):
    address = address if transport == "ipc" else free_address()
    path, pcm = sound_file(tmp_path, 160_000)
    with (
        EngineEnd(address) as engine,
        running(config(address), {"gate": fast(path)}, epochs={"gate": EPOCH}) as streamer,
    ):
        records = engine.take_until(has_ended)
        heard, gaps = put_together(records)
        assert (heard == pcm).all()
        assert gaps == []
        assert {(r.stream, r.epoch, r.can_wait, r.sample_rate_hz) for r in records} == {("gate", EPOCH, True, 16_000)}
        assert all(record.newest_sample >= record.end_sample for record in records)
        times = [record.captured_at_ns - record.first_sample * 62_500 for record in records]
        assert len(set(times)) == 1, "a file's samples lie at the start of the run plus their index"
        again = engine.take_until(has_ended, acking(len(pcm) - 1))
        assert not any(len(r.pcm) for r in again), "only the end is said again while it is not acknowledged"
        assert streamer.thread.is_alive()
        while streamer.thread.is_alive():
            engine.ack("gate", EPOCH, len(pcm))
            engine.records()
    assert streamer.error is None


def test_other_rates_are_resampled(tmp_path, address):
    path, pcm = sound_file(tmp_path, 44_100, rate_hz=44_100)
    with EngineEnd(address) as engine, running(config(address), {"gate": fast(path)}):
        heard, _ = put_together(engine.take_until(has_ended))
    assert len(heard) == 16_000
    assert len(pcm) == 44_100


def test_a_ring_smaller_than_the_file_loses_nothing_while_it_is_acknowledged(tmp_path, address):
    path, pcm = sound_file(tmp_path, 160_000)
    needed = 0

    def done(records):
        nonlocal needed
        needed = max([needed, *(record.end_sample for record in records[-20:])])
        return has_ended(records)

    with (
        EngineEnd(address) as engine,
        running(config(address, ring_s=0.5), {"gate": fast(path)}, epochs={"gate": EPOCH}),
    ):
        records = engine.take_until(done, lambda engine: engine.ack("gate", EPOCH, needed))
    heard, gaps = put_together(records)
    assert (heard == pcm).all()
    assert gaps == []


def test_a_stream_with_priority_goes_out_before_all_others(tmp_path, address):
    path, pcm = sound_file(tmp_path, 160_000)
    streams = {name: fast(path, priority=name == "gate") for name in ("barn", "gate", "yard")}
    before = {name: captured(name) or 0 for name in streams}
    with running(config(address), streams):
        wait_for(lambda: all(captured(name) == before[name] + len(pcm) for name in streams), "full rings")
        with EngineEnd(address) as engine:
            engine.tells_of_arrivals = False
            records = engine.take_until(lambda records: {record.stream for record in records} == set(streams))
    first_of_others = next(i for i, record in enumerate(records) if record.stream != "gate")
    assert records[first_of_others - 1].end_sample >= AHEAD_S * 16_000, "as much as may be on its way"
    assert records[first_of_others - 1].stream == "gate"


def test_sends_again_from_where_it_is_asked(tmp_path, address):
    path, pcm = sound_file(tmp_path, 50_000)
    with EngineEnd(address) as engine, running(config(address), {"gate": fast(path)}, epochs={"gate": EPOCH}):
        engine.take_until(has_ended)
        again = engine.take_until(has_ended, acking(20_000, resend_from=30_001))
        heard, _ = put_together([r for r in again if len(r.pcm)], start=30_001)
    assert (heard == pcm[30_001:]).all()


def test_an_engine_that_starts_anew_hears_of_a_stream_that_has_ended(tmp_path, address):
    path, pcm = sound_file(tmp_path, 50_000)
    with running(config(address), {"gate": fast(path)}, epochs={"gate": EPOCH}):
        with EngineEnd(address) as engine:
            engine.take_until(has_ended)
        with EngineEnd(address) as engine:
            nudge = engine.take_until(has_ended)
            assert nudge[0].first_sample == 50_000
            again = engine.take_until(has_ended, acking(0, resend_from=0))
    heard, _ = put_together([record for record in again if len(record.pcm)])
    assert (heard == pcm).all()


def test_an_engine_that_starts_anew_hears_of_a_source_that_waits_for_room(tmp_path, address):
    path, _ = sound_file(tmp_path, 50_000)
    ring_s = 1.0
    with running(config(address, ring_s=ring_s), {"gate": fast(path)}, epochs={"gate": EPOCH}):
        with EngineEnd(address) as engine:
            engine.take_until(lambda records: any(record.end_sample > 12_000 for record in records))
        with EngineEnd(address) as engine:
            (*_, last) = engine.take_until(bool)
            assert last.end_sample <= 16_000
            again = engine.take_until(
                lambda records: any(record.end_sample > 12_000 for record in records), acking(0, resend_from=0)
            )
    assert min(record.first_sample for record in again) == 0


def test_with_nobody_there_the_oldest_is_lost_and_counted_exactly(tmp_path, address):
    path, pcm = sound_file(tmp_path, 12_000)
    all_captured = threading.Event()

    def on_alive():
        if captured("nobody") == len(pcm):
            all_captured.set()

    streams = {"nobody": FileSource(path=path)}
    with running(config(address, ring_s=0.25), streams, on_alive=on_alive):
        assert all_captured.wait(DEADLINE_S)
        with EngineEnd(address) as engine:
            heard, gaps = put_together(engine.take_until(has_ended))
    assert gaps == [(0, 8_000, GapReason.OVERRUN)]
    assert (heard == pcm[8_000:]).all()


def test_acknowledgements_of_another_epoch_and_garbage_change_nothing(tmp_path, address):
    path, pcm = sound_file(tmp_path, 10_000)

    def mischief(engine):
        engine.send_garbage("gate")
        engine.ack("gate", EPOCH + 1, len(pcm), 0)

    def refused():
        return REGISTRY.get_sample_value("earmark_refused_records_total", {"reason": "truncated"}) or 0

    before = refused()
    with (
        EngineEnd(address) as engine,
        running(config(address), {"gate": fast(path)}, epochs={"gate": EPOCH}) as streamer,
    ):
        engine.take_until(has_ended)
        engine.take_until(lambda _: refused() > before, mischief)
        assert all(not len(r.pcm) for r in engine.take_until(has_ended, mischief))
        assert streamer.thread.is_alive()


def test_acknowledgements_of_another_version_are_counted_and_named_once(tmp_path, address):
    """Every stream's is repeated every second."""

    def refused():
        return REGISTRY.get_sample_value("earmark_refused_records_total", {"reason": "version"}) or 0

    path, _ = sound_file(tmp_path, 10_000)
    before = refused()
    with (
        structlog.testing.capture_logs() as logs,
        EngineEnd(address) as engine,
        running(config(address), {"gate": fast(path)}, epochs={"gate": EPOCH}),
    ):
        engine.take_until(lambda _: refused() >= before + 3, lambda engine: engine.send_other_version("gate"))
    (told,) = [log for log in logs if log.get("reason") == "version"]
    assert told["explanation"] == "expected wire version 1, got 2; run the same Earmark release on both ends"


def test_streams_share_messages_and_go_each_to_its_engine(tmp_path, tmp_path_factory):
    engines = [f"ipc://{tmp_path_factory.mktemp('s')}/e{i}" for i in range(2)]
    names = [f"s{i}" for i in range(200)]  # which goes where depends on the folder's name
    chosen = [name for engine in engines for name in [n for n in names if find_engine(n, engines) == engine][:3]]
    files = {name: sound_file(tmp_path, 20_000 + i, seed=i, name=f"{i}.wav") for i, name in enumerate(chosen)}
    homes = {name: find_engine(name, engines) for name in files}
    assert set(homes.values()) == set(engines)
    ends = [EngineEnd(engine) for engine in engines]
    with running(config(*engines), {name: fast(path) for name, (path, _) in files.items()}):
        for engine, end in zip(engines, ends, strict=True):
            own = {name for name in files if homes[name] == engine}
            records = end.take_until(
                lambda records, own=own: {r.stream for r in records if isinstance(r, AudioBlock) and r.end} >= own
            )
            assert {record.stream for record in records} == own
            for name in own:
                heard, _ = put_together([record for record in records if record.stream == name])
                assert (heard == files[name][1]).all()
    for end in ends:
        end.close()


def test_an_engine_more_moves_only_the_streams_that_it_gets():
    engines = [f"tcp://10.0.0.{i}:7701" for i in range(4)]
    streams = [f"stream-{i}" for i in range(400)]
    before = {stream: find_engine(stream, engines[:3]) for stream in streams}
    after = {stream: find_engine(stream, engines) for stream in streams}
    moved = [stream for stream in streams if before[stream] != after[stream]]
    assert all(after[stream] == engines[3] for stream in moved)
    assert 60 < len(moved) < 140
    assert all(find_engine(stream, list(reversed(engines))) == after[stream] for stream in streams)


def test_a_live_stream_is_heard_block_by_block_and_stops_when_told(address):
    alive = threading.Event()
    with (
        EngineEnd(address) as engine,
        running(config(address), {"quiet": SilenceSource()}, on_alive=alive.set) as streamer,
    ):
        assert streamer.ready.wait(DEADLINE_S)
        records = engine.take_until(lambda records: len(records) >= 10)
        assert put_together(records)[1] == []
        assert not records[0].can_wait
        assert alive.wait(DEADLINE_S)
        streamer.stop.set()
        streamer.join()


def test_a_missing_file_is_an_error_even_among_others(tmp_path, address):
    streamer = Streamer(config(address), {"quiet": SilenceSource(), "gone": fast(tmp_path / "none.wav")})
    with pytest.raises(SourceError, match=r"^streams\.gone: .*none\.wav: expected a sound file") as failure:
        streamer.run(threading.Event())
    assert isinstance(failure.value.__cause__, SourceError)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_capture_that_dies_while_it_opens_ends_the_streamer(tmp_path, address, monkeypatch):
    """It would look alive for ever, and send nothing."""

    def fail(_capture):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Capture, "_listen", fail)
    path, _ = sound_file(tmp_path, 100)
    with pytest.raises(RuntimeError, match="the capture of stream 'gate' has died"):
        Streamer(config(address), {"gate": fast(path)}).run(threading.Event())


def test_a_microphone_that_is_not_there_is_an_error_when_it_is_the_only_stream(address):
    with pytest.raises(SourceError, match=r"^streams\.gate: microphone: expected"):
        Streamer(config(address), {"gate": MicrophoneSource(device="no such device")}).run(threading.Event())


def test_a_key_file_that_is_missing_is_said_and_nothing_else(tmp_path, address):
    curve = CurveClient(key_file=tmp_path / "none.key", server_key_file=tmp_path / "none.pub")
    streamer = Streamer(StreamerConfig(engines=(address,), curve=curve), {"quiet": SilenceSource()})
    with pytest.raises(ConfigError, match=r"none\.") as failure:
        streamer.run(threading.Event())
    assert failure.value.__context__ is failure.value.__cause__, "what is closed behind it fails too"


def test_an_address_that_does_not_answer_is_tried_again_even_when_it_is_the_only_stream(address):
    tried_twice = threading.Event()

    def on_alive():
        if (REGISTRY.get_sample_value("earmark_source_failures_total", {"stream": "camera"}) or 0) >= 2:
            tried_twice.set()

    camera = UrlSource(url=free_address().replace("tcp:", "http:"))
    with running(config(address), {"camera": camera}, on_alive=on_alive) as streamer:
        assert streamer.ready.wait(DEADLINE_S)
        assert tried_twice.wait(DEADLINE_S)
        assert streamer.thread.is_alive()
    assert streamer.error is None


def test_a_microphone_that_is_not_there_does_not_stop_the_others(address):
    streams = {"gone": MicrophoneSource(device="no such device"), "quiet": SilenceSource()}
    with EngineEnd(address) as engine, running(config(address), streams) as streamer:
        assert streamer.ready.wait(DEADLINE_S)
        records = engine.take_until(lambda records: len(records) >= 5)
        assert {record.stream for record in records} == {"quiet"}
        assert REGISTRY.get_sample_value("earmark_stream_up", {"stream": "gone"}) == 0
        assert REGISTRY.get_sample_value("earmark_stream_up", {"stream": "quiet"}) == 1


def test_damage_in_a_file_becomes_a_gap_of_the_packets_that_it_spoils(tmp_path, address):
    path = tmp_path / "a.m4a"
    pcm = np.random.default_rng(0).integers(-20_000, 20_000, 100_000).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("alac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16p", layout="mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 20_000] = bytes(20_000)
    path.write_bytes(whole)
    with (
        EngineEnd(address) as engine,
        running(config(address), {"gate": fast(path)}, epochs={"gate": EPOCH}) as streamer,
    ):
        records = engine.take_until(has_ended)
        heard, gaps = put_together(records)
        ((first_lost, n_lost, _),) = gaps
        assert 0 < n_lost < 20_000
        assert (heard == np.delete(pcm, np.s_[first_lost : first_lost + n_lost])).all()
        while streamer.thread.is_alive():
            engine.ack("gate", EPOCH, records[-1].end_sample)
            engine.records()
    assert streamer.error is None


def test_refuses_configurations_that_cannot_work():
    with pytest.raises(ConfigError, match="at least one"):
        Streamer(StreamerConfig(), {})
    with pytest.raises(ConfigError, match="one source stdin at most, got a, b"):
        Streamer(StreamerConfig(), {"b": StdinSource(), "a": StdinSource()})
    with pytest.raises(ConfigError, match="stream's name"):
        Streamer(StreamerConfig(), {"No Name": SilenceSource()})


def test_an_engine_that_does_not_answer_is_told_of_once_and_so_is_its_return(address, monkeypatch):
    monkeypatch.setattr(streamer.sender, "_SILENT_S", 0.2)

    def told(logs, event):
        return [entry["engine"] for entry in logs if entry["event"].startswith(event)]

    with (
        structlog.testing.capture_logs() as logs,
        running(config(address), {"gate": SilenceSource()}, epochs={"gate": EPOCH}),
    ):
        wait_for(lambda: told(logs, "no answer from the engine"))
        with EngineEnd(address) as engine:
            engine.take_until(lambda _: told(logs, "engine answers"))
        assert told(logs, "no answer from the engine") == told(logs, "engine answers") == [address]


def test_a_wake_after_the_end_is_harmless():
    wake = Wake()
    wake.tell("a")
    wake.tell("b")
    assert wake.take() == {"a", "b"}
    assert wake.take() == set()
    wake.close()
    wake.tell("a")


def test_a_reload_ends_and_begins_only_what_has_changed(tmp_path, address):
    path, _ = sound_file(tmp_path, 1_600)
    silence = SilenceSource()
    asked = []
    begin = {"gate": silence, "yard": silence, "hall": silence}
    streamer = Streamer(config(address), begin, epochs={"gate": EPOCH})
    old = dict(streamer.epochs)
    stop, ready = threading.Event(), threading.Event()

    def turn():
        if asked:
            streamer.reload(asked.pop())

    thread = threading.Thread(target=lambda: streamer.run(stop, ready.set, turn))
    with EngineEnd(address) as engine:
        thread.start()
        assert ready.wait(60)
        records = engine.take_until(lambda records: {record.stream for record in records} == set(begin))
        asked.append({"gate": silence, "yard": fast(path), "new": silence})

        ended = {}

        def acknowledge(engine):
            for name, end_sample in ended.items():
                engine.ack(name, old[name], end_sample)

        def all_there(records):
            ended.update({r.stream: r.end_sample for r in records if r.epoch == old.get(r.stream) and has_ended([r])})
            newer = {r.stream for r in records if r.epoch != old.get(r.stream)}
            return ended.keys() == {"yard", "hall"} and newer == {"yard", "new"} and stream_up("hall") is None

        records += engine.take_until(all_there, acknowledge)
        stop.set()
        thread.join(60)
    gate = [record for record in records if record.stream == "gate"]
    assert {record.epoch for record in gate} == {EPOCH}
    put_together(gate)  # without a hole
    assert stream_up("gate") is not None


def test_a_reload_without_streams_is_refused(address):
    streamer = Streamer(config(address), {"gate": SilenceSource()})
    with pytest.raises(ConfigError, match="at least one"):
        streamer.reload({})
    assert set(streamer.epochs) == {"gate"}
