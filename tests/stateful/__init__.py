"""Exactly once, proved: the real parts of the whole service in one process, and every fault between them."""
