"""When bytes came to this machine, by the kernel's own stamp (``SO_TIMESTAMPNS``, socket(7)).

Owns the stamp's form, and how old it is: it is of the wall clock, which may be set while bytes wait.
"""

import time
from struct import Struct

SO_TIMESTAMPNS = 35
"""Of Linux, on every machine that this runs on; Python does not name it."""
# struct timespec: seconds, nanoseconds.
_STAMP = Struct("@ll")
STAMP_BYTES = _STAMP.size
_LONGEST_NS = 1_000_000_000
"""Nobody lets bytes wait for longer: an older stamp is one of a clock that was set meanwhile."""


def read_age_ns(stamp: bytes) -> int:
    """Return how long ago bytes came; 0 if that cannot be told."""
    if len(stamp) < STAMP_BYTES:
        return 0
    seconds, rest_ns = _STAMP.unpack_from(stamp)
    age_ns = time.time_ns() - (seconds * 1_000_000_000 + rest_ns)
    return age_ns if 0 <= age_ns <= _LONGEST_NS else 0
