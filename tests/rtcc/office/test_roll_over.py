"""A roll-over to another authority that is killed at any moment: nobody is locked out, and the step is taken again."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from cryptography import x509

from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.roll_over import add_authority, drop_authority, switch_authority

STEPS = {"add": add_authority, "switch": switch_authority, "drop": drop_authority}
MOST_WRITES = 12


def run_killed(home: RtccHome, step, now, *, before: int) -> bool:
    """Take a step in a child that is killed before its n-th file is put in place; tell whether it was."""
    child = os.fork()
    if not child:
        seen = 0

        def kill(event, _arguments):
            nonlocal seen
            if event in ("os.rename", "os.link"):
                seen += 1
                if seen == before:
                    os._exit(9)

        sys.addaudithook(kill)
        try:
            step(RtccHome.load(home.path), now)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def believed(home: RtccHome) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(home.ca_path.read_bytes())


def assert_nobody_is_locked_out(home: RtccHome) -> None:
    """Our own certificate is one that servers believe, and each authority that is believed has its list."""
    ours = x509.load_pem_x509_certificate(home.tls_paths("rtcc")[0].read_bytes())
    assert ours.issuer in {each.subject for each in believed(home)}
    listed = {x509.load_pem_x509_crl(pem).issuer for pem in split_pem(home.certificates.list_path)}
    assert listed >= {each.subject for each in believed(home)}
    assert len(home.load_authorities()) == len(believed(home))


def split_pem(path: Path) -> list[bytes]:
    return [b"-----BEGIN" + part for part in path.read_bytes().split(b"-----BEGIN")[1:]]


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_is_killed_harms_nobody_and_is_taken_again(home, now, name):
    """Killed before each file that it puts in place, then taken again: as if it had not been killed."""
    for earlier in list(STEPS)[: list(STEPS).index(name)]:
        STEPS[earlier](home, now)
    pristine = home.path.with_name("pristine")
    shutil.copytree(home.path, pristine)
    kills = 0
    for number in range(1, MOST_WRITES):
        shutil.rmtree(home.path)
        shutil.copytree(pristine, home.path)
        expected = len(believed(home)) + {"add": 1, "switch": 0, "drop": -1}[name]
        first = believed(home)[0]
        if not run_killed(home, STEPS[name], now, before=number):
            break
        kills += 1
        assert_nobody_is_locked_out(home)
        is_done = len(believed(home)) == expected and (name != "switch" or believed(home)[0] != first)
        if not is_done:
            STEPS[name](home, now)
        assert_nobody_is_locked_out(home)
        assert len(believed(home)) == expected
    assert kills >= 2
