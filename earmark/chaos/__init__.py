"""Fault schedules against real processes, and an oracle that tells what they should have changed: nothing.

Never imported at run time but by its own command, ``earmark chaos``.

| what | where |
|---|---|
| a seed's schedule: which faults, when, for how long | `earmark.chaos.schedule` |
| the faults, each of which begins and ends | `earmark.chaos.faults` |
| the service that they hit: supervisor, streamer, engines, publishers, two sinks | `earmark.chaos.lab` |
| what it must have told in the end, and what is different | `earmark.chaos.oracle` |
| one schedule, from its begin to its verdict | `earmark.chaos.trial` |
| many schedules, their results and their table | `earmark.chaos.run` |
"""
