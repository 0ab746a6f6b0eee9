"""A listening child that says what it should not."""

import sys

sys.stdout.buffer.write(b"trouble a\x1b[2Jb " + 100_000 * b"c" + b"\n\xff\xfe\n7\ntrouble\nlistening\n")
