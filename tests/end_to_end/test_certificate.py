"""A gateway's certificate through its life: taken over while it runs, renewed on the wire, revoked."""

import os
import signal

import pytest

from edge_agent.custody.enrolment_file import renewed_path
from edge_agent.host.atomic_file import write_small_file
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.revocation import revoke
from edge_agent.units import DAY_NS, UtcNs

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def install(world, age_days):
    """Install an enrolment file with a certificate that was issued so long ago, while the releaser runs."""
    csr = (world.home.config_path.with_name("gateway.csr")).read_bytes()
    issued_at = UtcNs(world.clock.utc() - age_days * DAY_NS)
    enrolled = enrol(world.city.home, csr, issued_at, renew=True)
    write_small_file(world.home.config.uplink.enrolment, enrolled.content, mode=0o644)


def status(world):
    return world.home.ask("releaser", "status")


def test_a_certificate_is_taken_over_renewed_and_revoked(world):
    """No process restarts for a new file; one that is old is renewed; and a revoked gateway is shut out."""
    first = status(world)["certificate"]
    pid = world.home.processes["release"].pid
    install(world, age_days=300)
    world.home.wait_for("the other certificate", lambda: status(world)["certificate"] < first)
    world.home.wait_for("connection", lambda: status(world)["broker"] == "connected", 60)
    assert world.home.processes["release"].pid == pid

    world.home.stop("release")
    world.home.start("release")
    world.home.wait_ready()
    world.home.wait_for("renewal", lambda: renewed_path(world.home.config.store_path).exists(), 60)
    world.home.wait_for("the renewed certificate", lambda: status(world)["certificate"] >= first)
    world.home.wait_for("connection", lambda: status(world)["broker"] == "connected", 90)
    signed = world.send(world.draft(2, 1))
    world.wait_state(signed.jti, "delivered", limit_s=60)

    revoke(world.city.home, world.home.gateway, lambda: os.kill(world.city._broker.pid, signal.SIGHUP))
    world.home.wait_for("the end of the connection", lambda: status(world)["broker"] == "not connected", 60)
