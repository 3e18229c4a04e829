"""UUIDs that begin with the time of their creation (RFC 9562 section 5.7)."""

import os
import time
import uuid

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62


def uuid7() -> uuid.UUID:
    """48 bits of Unix time in milliseconds, then 74 random bits.

    For ids of rows that are only added: each new id goes to the end of its index. Random ids would change a page in
    the middle for each entry of a large log.
    """
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    high, low = random_bits >> 62 & 0xFFF, random_bits & (1 << 62) - 1
    return uuid.UUID(int=milliseconds << 80 | _VERSION_AND_VARIANT | high << 64 | low)
