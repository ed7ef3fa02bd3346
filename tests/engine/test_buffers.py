"""Buffers of audio against lists of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.buffers import AudioBuffers

CAPACITY, HISTORY = 40, 25
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "append", "many", "take", "take", "clear", "grow"]), st.integers(1, 17)),
    min_size=1,
    max_size=60,
)


@given(steps=STEPS, history=st.sampled_from([0, HISTORY]))
def test_what_waits_and_what_was_taken_last(steps, history):
    buffers, n_slots, number = AudioBuffers(CAPACITY, history), 2, 0
    buffers.grow(n_slots)
    waiting, taken = [[] for _ in range(99)], [[] for _ in range(99)]
    for at, (what, n) in enumerate(steps):
        slot = at % n_slots
        new = list(range(number, number + min(n, CAPACITY - len(waiting[slot]))))
        if what in {"append", "many"} and new:
            pcm = np.array(new, np.int16)
            if what == "append":
                buffers.append(slot, pcm)
            else:
                buffers.append_many(
                    np.array([slot]), np.array([0]), pcm, np.array([0], np.int64), np.array([len(pcm)], np.int64)
                )
            waiting[slot] += new
            number += len(new)
        elif what == "take" and len(waiting[slot]) >= n:
            audio = buffers.take(np.array([slot]), n)
            np.testing.assert_array_equal(audio[0] * 32768, waiting[slot][:n])
            taken[slot], waiting[slot] = taken[slot] + waiting[slot][:n], waiting[slot][n:]
        elif what == "clear":
            buffers.clear(slot)
            waiting[slot], taken[slot] = [], []
        elif what == "grow" and n_slots < 90:
            n_slots += 1
            buffers.grow(n_slots)
        assert buffers.fill.tolist() == [len(each) for each in waiting[:n_slots]]
        assert buffers.room.tolist() == [CAPACITY - len(each) for each in waiting[:n_slots]]
        latest = buffers.latest(np.arange(n_slots)) * 32768
        for each, known in zip(latest, taken, strict=False):
            last = known[len(known) - min(history, len(known)) :]
            np.testing.assert_array_equal(each, [0] * (history - len(last)) + last)
