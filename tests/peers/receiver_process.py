"""The RTCC's receiver as a process that a test may kill: ``python -m tests.peers.receiver_process JSON``."""

import json
import sys
from pathlib import Path

from edge_agent.rtcc.receiver import Receiver, ReceiverSettings


def main() -> None:
    words = json.loads(sys.argv[1])
    paths = {name: Path(words[name]) for name in ("ca", "certificate", "key", "uploads_dir", "received_dir")}
    settings = ReceiverSettings(host="127.0.0.1", port=words["port"], keep_free_bytes=0, **paths)
    receiver = Receiver(settings, lambda _gateway, _name: True)
    receiver.serve()


if __name__ == "__main__":
    main()
