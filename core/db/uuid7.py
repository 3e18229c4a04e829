"""UUIDs that begin with the time they were made (RFC 9562 section 5.7)."""

import os
import time
import uuid

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62


def uuid7() -> uuid.UUID:
    """48 bits of Unix time in milliseconds, then 74 random bits.

    For ids of rows that only ever arrive: each goes to the end of its index. Random ones would dirty a page somewhere
    in the middle for every entry of a large log.
    """
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(os.urandom(10))
    high, low = random_bits >> 62 & 0xFFF, random_bits & (1 << 62) - 1
    return uuid.UUID(int=milliseconds << 80 | _VERSION_AND_VARIANT | high << 64 | low)
