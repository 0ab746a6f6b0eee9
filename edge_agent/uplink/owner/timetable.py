"""When the releaser's regular work is due: what at start, what every few seconds, what every hour and every day.

Owns the periods and the names of these jobs; the work is done in the module of its subject. A plan is made anew after
each step of the wall clock, and then what is due at start is done once more.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.host.clock import Clock
from edge_agent.uplink.inbound.intake import Intake
from edge_agent.uplink.inbound.retention import prune_by_clock
from edge_agent.uplink.inbound.schedule import Jobs
from edge_agent.uplink.owner.daily_checkpoint import DailyCheckpoint
from edge_agent.uplink.owner.deadlines import Deadlines
from edge_agent.uplink.owner.fault_news import EVERY_S as FAULTS_EVERY_S
from edge_agent.uplink.owner.fault_news import FaultNews
from edge_agent.uplink.owner.keep_commands import KeepCommands
from edge_agent.uplink.owner.update_notes import EVERY_S as UPDATES_EVERY_S
from edge_agent.uplink.owner.update_notes import UpdateNotes
from edge_agent.uplink.release.certificate_renewal import EVERY_S as RENEW_EVERY_S
from edge_agent.uplink.release.certificate_renewal import CertificateRenewal
from edge_agent.uplink.release.terms_watch import EVERY_S as TERMS_EVERY_S
from edge_agent.uplink.release.terms_watch import TermsWatch
from edge_agent.uplink.store.database import Database

WAITING_EVERY_S = 5.0
"""Messages that wait for a clock or a trust bundle."""
REFUSALS_EVERY_S = 600.0
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class HouseJobs:
    """The jobs of every gateway, whether it belongs to an RTCC or not."""

    keeps: KeepCommands
    faults: FaultNews
    updates: UpdateNotes
    enter_heads: Callable[[], None]
    """Enters where every ring stands."""
    clock: Clock

    def plan(self, jobs: Jobs) -> None:
        """Enter all of them."""
        now = self.clock.utc()
        jobs.every("keeps", _HOUR_S, self.keeps.expire)
        jobs.at("keeps at start", now, self.keeps.settle)
        jobs.every("faults", FAULTS_EVERY_S, self.faults.look)
        jobs.every("updates", UPDATES_EVERY_S, self.updates.look)
        jobs.at("updates at start", now, self.updates.look)
        jobs.every("heads", _HOUR_S, self.enter_heads)


@dataclass(frozen=True, slots=True)
class RequestJobs:
    """The jobs of a gateway that belongs to an RTCC."""

    house: HouseJobs
    deadlines: Deadlines
    intake: Intake
    enter_refusals: Callable[[], None]
    """Enters the refusals that were only counted, of every hour that is over."""
    terms: TermsWatch
    renewal: CertificateRenewal
    checkpoint: DailyCheckpoint
    store: Database

    def plan(self, jobs: Jobs) -> None:
        """Enter all of them, those of the house, and what is due for each open request."""
        now = self.house.clock.utc()
        self.deadlines.plan_all(jobs)
        jobs.every("waiting", WAITING_EVERY_S, self.intake.retry_waiting)
        jobs.every("refusals", REFUSALS_EVERY_S, self.enter_refusals)
        jobs.at("terms at start", now, self.terms.look)
        jobs.every("terms", TERMS_EVERY_S, self.terms.look)
        jobs.every("prune", _HOUR_S, lambda: prune_by_clock(self.store, self.house.clock))
        jobs.every("certificate", RENEW_EVERY_S, self.renewal.look)
        jobs.at("certificate at start", now, self.renewal.look)
        self.checkpoint.plan(jobs)
        self.house.plan(jobs)
