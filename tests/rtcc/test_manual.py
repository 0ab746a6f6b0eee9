"""docs/rtcc.md is true: its commands are typed here, in order, with real servers and its own broker configuration."""

import contextlib
import getpass
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_agent.demo.broker import find_free_port, find_mosquitto
from edge_agent.errors import UnavailableError
from edge_agent.rtcc.cli import build_parser

MANUAL = (Path(__file__).parents[2] / "docs" / "rtcc.md").read_text()
WAIT = """
waits() { for i in $(seq 200); do (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.05; done; return 1; }
"""


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", MANUAL, re.MULTILINE | re.DOTALL)


def commands(kind):
    lines = "".join(blocks(kind)).replace("\\\n", " ").splitlines()
    return [line.removesuffix(" &") for line in lines if line.startswith("rtcc ")]


@pytest.mark.parametrize("line", commands("sh") + commands("console"))
def test_every_command_is_one(line):
    """The parser knows every word of every command in the manual."""
    build_parser().parse_args(shlex.split(line)[1:])


@pytest.mark.peer
@pytest.mark.timeout(300)  # two dozen programs, one after the other
def test_the_manual_works_as_typed(tmp_path, applicant):
    """From an empty folder to following answers: each block succeeds, with ports that are free here."""
    try:
        mosquitto = find_mosquitto()
    except UnavailableError as error:
        pytest.skip(str(error))
    shims = tmp_path / "bin"
    shims.mkdir()
    program = "import sys; from edge_agent.rtcc.cli import main; sys.exit(main())"
    (shims / "rtcc").write_text(f"#!/bin/sh\nexec {sys.executable} -c '{program}' \"$@\"\n")
    (shims / "rtcc").chmod(0o755)
    (shims / "mosquitto").symlink_to(mosquitto.path)
    (tmp_path / "broker").mkdir()
    ports = {"8883": find_free_port(), "8884": find_free_port(), "8443": find_free_port()}

    def put_ports(text):
        for known, free in ports.items():
            text = text.replace(known, str(free))
        return text

    config = f"user {getpass.getuser()}\n" + put_ports(blocks("mosquitto")[0])
    (tmp_path / "broker" / "mosquitto.conf").write_text(config)
    (tmp_path / "broker" / "acl").write_text(blocks("acl")[0])
    (tmp_path / "gateway.csr").write_bytes(applicant.csr)
    script = "set -eu\ntrap 'kill $(jobs -p) 2>/dev/null' EXIT\n" + WAIT
    for typed in blocks("sh")[1:]:
        typed_here = put_ports(typed).replace("keys init rtcc-home", f"keys init rtcc-home --rtcc-port {ports['8884']}")
        script += typed_here.replace("rtcc trust publish", f"waits {ports['8884']}\nrtcc trust publish")
        # A person reads the id from the screen.
        script += "[ ! -e enrolment.json ] || GATEWAY=$(rtcc keys show | tail -1 | cut -d' ' -f1)\n"
    (tmp_path / "manual.sh").write_text(script)
    environment = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [shutil.which("bash"), "-x", "manual.sh"],
        cwd=tmp_path,
        env=environment | dict(mosquitto.environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=250)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output[-3000:]
    for said in ("published, retained", "enrolled: gateway=", "sent: jti=", "nothing was delivered yet", "1 revoked"):
        assert said in output, output[-3000:]
