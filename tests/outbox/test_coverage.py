"""Coverage in the outbox: shared by engines, kept while the machine is up, forgotten after an hour."""

from contextlib import closing

from earmark.outbox import Outbox
from earmark.outbox.coverage import CoveredMinute
from tests.support.uptime import Machine


def minute(number, stream="gate", analysed=960_000):
    return CoveredMinute(stream, number, 12.5, analysed, 960_000)


def test_what_is_saved_is_loaded_by_stream_in_order(tmp_path):
    with closing(Outbox(tmp_path / "o.db", uptime=Machine())) as outbox:
        outbox.save_coverage([minute(8), minute(7), minute(7, "yard")], 0)
        outbox.save_coverage([minute(8, analysed=5)], 0)
    with closing(Outbox(tmp_path / "o.db", uptime=Machine())) as outbox:
        assert outbox.load_coverage() == {"gate": [minute(7), minute(8, analysed=5)], "yard": [minute(7, "yard")]}


def test_old_minutes_are_forgotten(tmp_path):
    with closing(Outbox(tmp_path / "o.db", uptime=Machine())) as outbox:
        outbox.save_coverage([minute(number) for number in range(100)], 40)
        assert [each.minute for each in outbox.load_coverage()["gate"]] == list(range(40, 100))


def test_another_boot_begins_with_nothing(tmp_path):
    """Its clock is another, and how long the machine was off is not known."""
    machine = Machine()
    with closing(Outbox(tmp_path / "o.db", uptime=machine)) as outbox:
        outbox.save_coverage([minute(1)], 0)
    machine.reboot()
    with closing(Outbox(tmp_path / "o.db", uptime=machine)) as outbox:
        assert outbox.load_coverage() == {}
        outbox.save_coverage([minute(1)], 0)
        assert outbox.load_coverage() == {"gate": [minute(1)]}
