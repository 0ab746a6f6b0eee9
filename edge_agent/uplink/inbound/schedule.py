"""Everything that is due at a time: ask time-outs, cooling-off, warnings, retention, the hourly and daily entries.

A thin layer over APScheduler. Jobs live in memory and are planned anew from SQLite, at start and whenever the wall
clock steps: a due time that was computed before a step would come hours late or never. A job that was missed
runs late rather than not at all (``misfire_grace_time=None``; the library's default of one second skips silently).
"""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from edge_agent.host.clock import Clock
from edge_agent.units import SECOND_NS, UtcNs

log = logging.getLogger(__name__)

STEP_NS = 2 * SECOND_NS
"""A change of wall clock against boot time that counts as a step."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WATCH_S = 1.0
_WORKERS = 2


class Jobs:
    """The schedule of one process.

    Args:
        clock: Watched for steps.
        plan: Enters every job that the store makes due; called by ``start``, and after a step in the thread that
            watches the clock.
        stop: Ends the watch.
    """

    def __init__(self, clock: Clock, plan: Callable[["Jobs"], None], stop: threading.Event) -> None:
        self._clock = clock
        self._plan = plan
        self._stop = stop
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(_WORKERS)},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        )
        self._thread = threading.Thread(target=self._watch, name="jobs")

    def start(self) -> None:
        """Plan and begin."""
        self._scheduler.start()
        self._plan(self)
        self._thread.start()

    def join(self, timeout_s: float = 5.0) -> None:
        """Wait until the schedule has ended after ``stop``."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._scheduler.running:
            # Shutting down in the middle of a pass makes APScheduler's thread look for jobs that are gone: pause, and
            # let `get_jobs` wait for the lock that a pass holds.
            self._scheduler.pause()
            self._scheduler.get_jobs()
            self._scheduler.shutdown(wait=False)

    def is_alive(self) -> bool:
        """Tell whether the clock is watched."""
        return self._thread.is_alive()

    def at(self, name: str, due: UtcNs, work: Callable[[], None]) -> None:
        """Run ``work`` once at ``due``, at once if that is past; the same name again replaces it."""
        # A datetime holds microseconds: rounded up, so that ``due`` has come when the work looks at the clock.
        when = _EPOCH + timedelta(microseconds=due // 1000 + 1)
        self._scheduler.add_job(_told(name, work), DateTrigger(when), id=name, replace_existing=True)

    def every(self, name: str, seconds: float, work: Callable[[], None]) -> None:
        """Run ``work`` at an interval, first after one interval; the same name again replaces it."""
        self._scheduler.add_job(
            _told(name, work),
            IntervalTrigger(seconds=seconds),
            id=name,
            replace_existing=True,
        )

    def _watch(self) -> None:
        offset = self._clock.utc() - self._clock.boot()
        while not self._stop.wait(_WATCH_S):
            now_offset = self._clock.utc() - self._clock.boot()
            if abs(now_offset - offset) > STEP_NS:
                log.warning("wall clock stepped by_s=%.3f; jobs are planned anew", (now_offset - offset) / SECOND_NS)
                # The old offset stays, so that the next look finds the step again.
                if not self._plan_anew():
                    continue
            offset = now_offset

    def _plan_anew(self) -> bool:
        """Plan everything again; False if the store cannot be read, and it must be tried again."""
        try:
            self._scheduler.remove_all_jobs()
            self._plan(self)
        except Exception:
            log.exception("jobs cannot be planned")
            return False
        return True


def _told(name: str, work: Callable[[], None]) -> Callable[[], None]:
    """Wrap a job so that its failure is logged under its name and the schedule goes on."""

    def run() -> None:
        try:
            work()
        except Exception:
            log.exception("job failed name=%s", name)

    return run
