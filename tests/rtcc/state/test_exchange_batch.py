"""Answers that are judged many at once: the state is what it would be if each had come alone."""

import dataclasses
import random
import shutil

import pytest
from sqlalchemy import select

from edge_agent.protocol import jws
from edge_agent.protocol.answer import Answer, DeliveredFile, Status, encode_answer, upload_name
from edge_agent.protocol.request import Role
from edge_agent.protocol.request_jws import TYP
from edge_agent.rtcc import answers
from edge_agent.rtcc.answers import Inbox
from edge_agent.rtcc.office.enrol import enrol
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.state import tables
from edge_agent.rtcc.state.copying import move_state
from edge_agent.rtcc.state.database import CityDatabase
from edge_agent.rtcc.state.inbound import NewMessage
from edge_agent.units import HOUR_NS, UtcNs, encode_rfc3339
from tests.rtcc.conftest import NOW, SETTINGS, Applicant

JTIS, UNKNOWN = tuple(name * 22 for name in "jkl"), "u" * 22
COUNT = 120
CLOCKS = {"taken_at_ns", "kept_at_ns", "at_ns", "number"}


class Gateways:
    """Two enrolled gateways of a home, and the messages that they might say, in any order."""

    def __init__(self, home):
        self.iss = home.settings.iss
        self.keys = {}
        for _ in range(2):
            applicant = Applicant()
            self.keys[enrol(home, applicant.csr, NOW).gateway] = applicant.gateway
        asked = ({"cells": ["dr5rs"]}, {"gateway": next(iter(self.keys))}, {"cells": ["dr5rt"]})
        key = home.people.load_key("operator-1", Role.OPERATOR)
        release_by = encode_rfc3339(UtcNs(NOW + HOUR_NS))
        for jti, aud in zip(JTIS, asked, strict=True):
            home.write_request(jti, jws.sign(TYP, {"aud": aud, "release_by": release_by}, [key]))

    def say(self, chance):
        """Return one message: mostly in order, and now and then what no gateway should say."""
        gateway = chance.choice(list(self.keys))
        jti = chance.choice((*JTIS, *JTIS, UNKNOWN))
        status = chance.choice((Status.QUEUED, Status.UPLOADING, Status.UPLOADING, Status.DELIVERED, Status.CANCELLED))
        answer = Answer(
            gateway, self.iss, jti, chance.randrange(7), NOW, status, **self.members(chance, status, gateway, jti)
        )
        raw = encode_answer(answer, chance.choice((*[self.keys[gateway]] * 9, *self.keys.values())))
        return NewMessage(f"rtcc/1/gw/{gateway}/res", raw, gateway, jti)

    def members(self, chance, status, gateway, jti):
        if status is Status.QUEUED:
            return {"cameras": tuple(chance.sample(("door", "yard", "gate"), 2)), "not_before": NOW}
        if status is Status.UPLOADING:
            return {"sent_bytes": chance.randrange(9), "total_bytes": 9}
        if status is Status.DELIVERED:
            of = chance.choice((jti, jti, jti, JTIS[0]))
            camera, digest = chance.choice(("door", "yard")), bytes([chance.randrange(2)]) * 32
            return {"files": (DeliveredFile(camera, upload_name(gateway, of, camera), digest, 9, b"header"),)}
        return {}


def dump(home):
    found = {}
    with home.state.database.read() as connection:
        for table in (tables.exchanges, tables.answers, tables.announced, tables.deliveries, tables.conflicts,
                      tables.audit_events):  # fmt: skip
            columns = [column for column in table.c if column.name not in CLOCKS]
            found[table.name] = sorted(map(tuple, connection.execute(select(*columns))), key=repr)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_batch_is_worth_its_messages_one_by_one(tmp_path, database, monkeypatch, seed):
    """Any messages, in batches of any size: the same rows, the same conflicts, the same events of the audit."""
    monkeypatch.setattr(answers, "MAX_ANSWERS", 3)
    chance = random.Random(seed)
    one = RtccHome.create(tmp_path / "one", SETTINGS, NOW)
    gateways = Gateways(one)
    shutil.copytree(one.path, tmp_path / "many")
    many = RtccHome.load(tmp_path / "many")
    if database:
        move_state(many.state.database, CityDatabase(database))
        many.write_settings(dataclasses.replace(SETTINGS, database=database))
        many = RtccHome.load(tmp_path / "many")
    messages = [gateways.say(chance) for _ in range(COUNT)]
    messages += chance.choices(messages, k=COUNT // 3)
    faults = {"one": [], "many": []}
    for message in messages:
        with one.state.database.begin() as connection:
            faults["one"].append(Inbox(one).judge_one(connection, message).fault)
    while messages:
        size = chance.randrange(1, 33)
        batch, messages = messages[:size], messages[size:]
        with many.state.database.begin() as connection:
            faults["many"] += [each.fault for each in Inbox(many).judge(connection, batch)]
    assert list(map(repr, faults["many"])) == list(map(repr, faults["one"]))
    assert dump(many) == dump(one)
    kinds = {type(fault).__name__ for fault in faults["one"]}
    assert kinds == {"NoneType", "EvidenceError", "ConflictError"}
    many.state.database.close()
    one.state.database.close()
