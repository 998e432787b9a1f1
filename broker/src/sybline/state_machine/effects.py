"""Effects of apply: data that only the leader realises and that may be repeated after a failover.

The original API polls, so nothing is delivered by effect yet; streams add theirs here.
"""

from msgspec import Struct


class Effect(Struct, frozen=True, array_like=True):
    """Base of all effects."""
