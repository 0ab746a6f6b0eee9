"""``python -m edge_agent.demo``: what ``scripts/demo`` runs."""

import argparse
import logging
import signal
import sys
import tempfile
from pathlib import Path

from edge_agent.demo.scenario import RECORD_S, run

_DESCRIPTION = """\
Shows the whole path on this machine, on loopback alone and without root: two simulated cameras are recorded into
encrypted rings; a valid request is decided, cut, uploaded and opened by the RTCC's side; six others are refused.
Ends with 0 only if every step had the outcome named. Ctrl-C leaves nothing running.
"""


def main() -> int:
    """Parse the words and run."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, help="keep everything here; must not exist [a new one in /tmp]")
    parser.add_argument("--seconds", type=int, default=RECORD_S, help="how long to record first [%(default)s]")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder: Path = args.folder or Path(tempfile.mkdtemp(prefix="edge-agent-demo-"))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return run(folder, max(15, args.seconds))
    except KeyboardInterrupt:
        print("\nstopped; nothing is left running", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
