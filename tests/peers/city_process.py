"""A reader or a worker of a city in a process of its own, which kills itself by name of the moment.

python -m tests.peers.city_process reader|worker HOME [MOMENT]
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.answer_worker import AnswerWorker
from edge_agent.rtcc.intake import IntakeReader
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.session import broker_settings

MOMENTS = ("before INSERT", "between INSERT and PUBACK", "after PUBACK")
STORED = 3
"""Messages that it takes in before the batch with which it dies."""
ACKED_S = 0.5


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def read(home: RtccHome, moment: str) -> None:
    stored = 0

    def store(messages):
        nonlocal stored
        is_due = stored >= STORED
        if is_due and moment == MOMENTS[0]:
            die()
        home.state.inbound.put(messages)
        stored += len(messages)
        if is_due and moment == MOMENTS[1]:
            die()
        if is_due and moment == MOMENTS[2]:
            threading.Timer(ACKED_S, die).start()

    say = lambda text: print(text, flush=True)  # noqa: E731
    reader = IntakeReader(broker_settings(home, watch=True), store, home.state.readers, SystemClock(), say)
    reader.run(threading.Event())


def main() -> None:
    kind, home, moment = sys.argv[1], RtccHome.load(Path(sys.argv[2])), (sys.argv[3:] or [""])[0]
    if kind == "reader":
        read(home, moment)
    else:
        print("working", flush=True)
        AnswerWorker(home).run(threading.Event())


if __name__ == "__main__":
    main()
