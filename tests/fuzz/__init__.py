"""Fuzzing of whatever comes from outside, by atheris (libFuzzer for Python): ``make fuzz``."""
