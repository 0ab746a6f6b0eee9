"""What one gateway more costs an RTCC: enrolment, an answer, reading the answers again; in SQLite or in PostgreSQL.

    scripts/bench city [GATEWAYS [NEIGHBOURS [postgresql]]]

CPU of one thread; the disk's share is in the wall times. Beside GATEWAYS real ones (1000 by default) lie the records of
NEIGHBOURS (nine times as many). With PostgreSQL, the CPU of the server's process for our connection is printed as well.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import insert, select, text

from edge_agent.host.clock import SystemClock
from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.protocol.application import encode_csr
from edge_agent.rtcc.answer_intake import BATCH as WATCH_BATCH
from edge_agent.rtcc.answer_worker import BATCH, AnswerWorker
from edge_agent.rtcc.answers import Inbox, gateway_of, jti_of
from edge_agent.rtcc.arrivals import RECEIVE_MAXIMUM
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import HomeSettings, RtccHome
from edge_agent.rtcc.office.keys import make_id
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.inbound import NewMessage
from edge_agent.rtcc.state.tables import gateways
from edge_agent.units import HOUR_NS, UtcNs, encode_rfc3339
from tests.peers.postgresql import PostgreSql

LAST = 30
"""So many enrolments at the end are measured."""
JTI = "j" * 22
_TICKS_PER_S = 100
_AT_ONCE = 5000


class Meter:
    """Prints what a piece of work costs, for each of its parts."""

    def __init__(self, home: RtccHome) -> None:
        self._pid = find_server_pid(home.state.database)

    def measure(self, name: str, count: int, work: Callable[[], object]) -> None:
        """Run and print milliseconds of CPU and of wall time for each of ``count``."""
        server, cpu, wall = self._server_s(), time.process_time(), time.monotonic()
        work()
        server, cpu, wall = self._server_s() - server, time.process_time() - cpu, time.monotonic() - wall
        beside = f" {server * 1000 / count:8.2f} ms CPU of PostgreSQL" if self._pid else ""
        print(f"{name:<44} {cpu * 1000 / count:8.2f} ms CPU {wall * 1000 / count:8.2f} ms{beside}")

    def _server_s(self) -> float:
        """Return the CPU of our connection's server process, in seconds."""
        if not self._pid:
            return 0.0
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def apply(key: Ed25519PrivateKey) -> bytes:
    """Make a gateway's application."""
    recorder, owner = Ed25519PrivateKey.generate().public_key(), Ed25519PrivateKey.generate().public_key()
    tls = ec.generate_private_key(ec.SECP256R1())
    return encode_csr(tls, gateway=key.public_key(), recorder=recorder, owner=owner)


def copy_gateways(database: CityDatabase, like: str, names: Sequence[str]) -> None:
    """Insert gateways with the record of another one, each with an id and a key's name of its own."""
    with database.begin() as connection:
        record = connection.execute(select(gateways).where(gateways.c.gateway == like)).one()._asdict()
        for start in range(0, len(names), _AT_ONCE):
            rows = [{**record, "gateway": name, "kid": name + "x" * 21} for name in names[start : start + _AT_ONCE]]
            connection.execute(insert(gateways), rows)


def find_server_pid(database: CityDatabase) -> int:
    """Return the process that serves our connection on this machine; 0 for SQLite, which has none."""
    if not database.is_shared:
        return 0
    with database.read() as connection:
        return int(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())


def sign_answers(iss: str, gateways: list[tuple[str, Ed25519PrivateKey]], now: UtcNs) -> list[list[tuple[str, bytes]]]:
    """Sign a ``queued``, a progress and a ``delivered`` of each gateway, one list for each kind."""
    signed: list[list[tuple[str, bytes]]] = [[], [], []]
    for gateway, key in gateways:
        file = DeliveredFile("door", upload_name(gateway, JTI, "door"), b"\x01" * 32, 4096, b"age-header" * 40)
        answers = (
            Answer(gateway, iss, JTI, 0, now, Status.QUEUED, cameras=("door",), not_before=now),
            Answer(gateway, iss, JTI, 1, now, Status.UPLOADING, sent_bytes=1, total_bytes=4096),
            Answer(gateway, iss, JTI, 2, now, Status.DELIVERED, files=(file,)),
        )
        for kind, answer in zip(signed, answers, strict=True):
            kind.append((f"rtcc/1/gw/{gateway}/res", encode_answer(answer, key)))
    return signed


def take_singly(home: RtccHome, messages: list[tuple[str, bytes]]) -> None:
    """Judge messages with a transaction for each."""
    inbox = Inbox(home)
    for each in _as_new(messages):
        with home.state.database.begin() as connection:
            assert inbox.judge(connection, [each])[0].answer is not None


def take_as_watch(home: RtccHome, messages: list[tuple[str, bytes]]) -> None:
    """Take messages in as `rtcc watch` does, but for the broker."""
    read_in(home, messages)
    work(home, WATCH_BATCH)


def read_in(home: RtccHome, messages: list[tuple[str, bytes]]) -> None:
    """Insert messages as a reader does, so many at once as a broker may have under way."""
    found = _as_new(messages)
    for start in range(0, len(found), RECEIVE_MAXIMUM):
        home.state.inbound.put(found[start : start + RECEIVE_MAXIMUM])


def _as_new(messages: list[tuple[str, bytes]]) -> list[NewMessage]:
    return [NewMessage(topic, raw, gateway_of(topic) or "", jti_of(raw)) for topic, raw in messages]


def work(home: RtccHome, batch: int = BATCH) -> None:
    """Judge everything that waits, as one worker does."""
    worker = AnswerWorker(home, batch)
    while worker.turn():
        pass
    assert home.state.inbound.count() == (0, 0)


def main() -> None:
    """Make a city in a temporary folder, and measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    neighbours = int(sys.argv[2]) if len(sys.argv) > 2 else 9 * count
    if sys.argv[3:4] != ["postgresql"]:
        run(count, neighbours, "")
        return
    with PostgreSql() as cluster:
        url = cluster.make_database()
        CityDatabase(url).create()
        run(count, neighbours, url)


def run(count: int, neighbours: int, url: str) -> None:
    """Measure a home whose state is at a URL, or in its folder."""
    now = SystemClock().utc()
    with tempfile.TemporaryDirectory() as folder:
        uploads = {"evidence": "https://localhost:1/files/"}
        settings = HomeSettings("rtcc.example-city", "127.0.0.1", 1, 2, uploads, database=url)
        home = RtccHome.create(Path(folder) / "home", settings, now)
        keys = [Ed25519PrivateKey.generate() for _ in range(count + LAST)]
        ids = [enrol(home, apply(key), now).gateway for key in keys[:count]]
        last = [apply(key) for key in keys[count:]]
        copy_gateways(home.state.database, ids[0], [make_id() for _ in range(neighbours)])
        meter = Meter(home)
        every = count + neighbours
        meter.measure(f"enrol one at {every}", LAST, lambda: [enrol(home, each, now) for each in last])
        asked = {"aud": {"cells": ["dr5rs"]}, "release_by": encode_rfc3339(UtcNs(now + HOUR_NS))}
        home.write_request(JTI, jws.sign("rtcc-request+jws", asked, [keys[0]]))
        kinds = sign_answers(settings.iss, list(zip(ids, keys, strict=False)), now)
        part = count // 3
        for name, messages in zip(("queued", "progress", "delivered"), kinds, strict=True):
            singly, watched, batched = messages[:part], messages[part : 2 * part], messages[2 * part :]
            meter.measure(f"{name} at {every}, one by one", part, partial(take_singly, home, singly))
            meter.measure(f"{name} at {every}, by watch", part, partial(take_as_watch, home, watched))
            meter.measure(f"{name} at {every}, read in", len(batched), partial(read_in, home, batched))
            meter.measure(f"{name} at {every}, by a worker", len(batched), partial(work, home))
        meter.measure("read an answer again", 2 * count, lambda: list(Inbox(home).answers(JTI)))
        meter.measure("the first page of gateways", 1, home.state.gateways.page)


if __name__ == "__main__":
    main()
