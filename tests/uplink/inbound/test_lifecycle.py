"""The life of a request: every cell of its two tables, as the register records it."""

import ast
import itertools
import re
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from edge_agent.ledger import table as ledger
from edge_agent.protocol.answer import DeliveredFile, Note, Status, verify_answer
from edge_agent.units import Window
from edge_agent.uplink.inbound import lifecycle
from edge_agent.uplink.inbound.lifecycle import (
    CAMERA,
    ENDED,
    REQUEST,
    CameraEvent,
    CameraState,
    Event,
    KeyFate,
    PayloadFate,
    Phase,
)
from edge_agent.uplink.inbound.register import Aftermath, WithdrawnError
from edge_agent.uplink.inbound.steps import CameraStep, RequestStep
from edge_agent.uplink.store.outbox import OutboxMessage
from edge_agent.uplink.store.releases import Bundle, Ended, ReleaseState, StoredRelease, Waiting
from edge_agent.uplink.store.requests import RequestState
from tests.support import gate
from tests.support.releaser import House

ROOT = Path(__file__).parents[3]
MEMBERS = {
    Status.QUEUED: {"cameras": ("door",), "trimmed": (), "not_before": gate.NOW},
    Status.UPLOADING: {"sent_bytes": 1, "total_bytes": 2},
    Status.DELIVERED: {"files": (DeliveredFile("door", "file-door", bytes(32), 9, b"age"),), "trimmed": ()},
    Status.NO_FOOTAGE: {"missing": (Note("no-footage", "door"),)},
    Status.FAILED: {"reason": "clip-failed"},
}
MEMBERS[Status.PARTIAL] = {**MEMBERS[Status.DELIVERED], **MEMBERS[Status.NO_FOOTAGE]}
PLACEHOLDERS = {"str": "x", "bytes": b"\1", "int": 1, "UtcNs": gate.NOW, "Window": Window(gate.NOW, gate.NOW + 1)}
ENTER, BUILD, SENT = (
    {"door": CameraStep(event)} for event in (CameraEvent.ENTER, CameraEvent.BUILD, CameraEvent.UPLOAD)
)
UPLOADED = [(Event.GRANT, {}), (Event.CAMERA, ENTER), (Event.CAMERA, BUILD), (Event.CAMERA, SENT)]
BUNDLE = Bundle({}, "00", 9)
PATHS = {
    Phase.NEW: [],
    Phase.ASKED: [(Event.ASK, {})],
    Phase.GRANTED: UPLOADED,
    Phase.UPLOADING: [*UPLOADED, (Event.UPLOAD, {})],
    Phase.KEY_WAITS: [*UPLOADED, (Event.WHOLE, {})],
    Phase.KEY_GIVEN: [*UPLOADED, (Event.WHOLE, {}), (Event.KEY_LEAVES, {})],
    Phase.DENIED: [(Event.DENIAL, {})],
    Phase.NO_FOOTAGE: [(Event.GRANT, {}), (Event.NOTHING, {})],
    Phase.CANCELLED: [(Event.GRANT, {}), (Event.STOP, {})],
    Phase.FAILED: [(Event.GRANT, {}), (Event.FAILURE, {})],
}


@pytest.fixture
def house(tmp_path):
    house = House(tmp_path)
    yield house
    house.store.close()


def entry_of(shape):
    """Some entry of a shape: the tables know its kind, not what it says."""
    needed = (each for each in fields(shape) if each.default is MISSING)
    return shape(**{each.name: PLACEHOLDERS.get(getattr(each.type, "__name__", ""), ()) for each in needed})


def step_of(phase, event, cameras, states):
    """A step that fits its cell; of a cell that there is not, one that would fit no other either."""
    row = REQUEST.get((phase, event))
    shapes = [] if row is None else list(row.entries)
    for name, camera in cameras.items():
        cell = CAMERA.get((states[name], camera.event))
        shapes += [cell.entry] if cell is not None and cell.entry is not None else []
    answer = {} if row is None else MEMBERS.get(row.answer, {})
    return RequestStep(event, gate.NOW, tuple(entry_of(shape) for shape in shapes), answer=answer, cameras=cameras)


def take_in(house):
    """A request that has arrived, in the transaction of its decision."""
    verified = house.evaluator.verify(house.sign(), house.evaluator.moment())
    with house.store.transaction() as connection:
        return house.register.add(connection, verified, None, gate.NOW)


def apply(house, request, event, cameras, aftermath=None):
    with house.store.transaction() as connection:
        stored = house.store.requests.read(request.id)
        found = {each.camera: each for each in house.store.releases.list_of(request.id)}
        states = {name: camera_state(stored, found.get(name)) for name in cameras}
        cameras = {name: fill(request, found.get(name), camera) for name, camera in cameras.items()}
        house.register.apply(
            connection, request.id, step_of(house.register.find_phase(stored), event, cameras, states), aftermath
        )


def fill(request, release, camera):
    """What a step saves of a release: entered with a name, built with a header and somewhere to upload it."""
    if camera.event is CameraEvent.ENTER:
        release = StoredRelease(request.id, "door", ReleaseState.WAITING, "file-door", Waiting(0), b"", "")
    if camera.event is CameraEvent.BUILD and release is not None:
        release = replace(release, info=BUNDLE, header=b"age", upload_url="https://upload.example/file-door")
    return CameraStep(camera.event, release)


def camera_state(stored, release):
    if release is None:
        return CameraState.NONE
    if release.state is ReleaseState.DELIVERED:
        return CameraState.KEY_GIVEN if stored.is_handed_over else CameraState.KEY_WAITS
    return CameraState(release.state.value)


def everything(house):
    """All that a transaction may change."""
    with house.store.reading() as connection:
        tables = ("request", "release", "answer", "outbox", "quota", "doomed_upload", "ledger_leaves")
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}


def kinds(house):
    with house.store.reading() as connection:
        return [each.kind for each in ledger.entries(connection)]


def notices(house):
    with house.store.reading() as connection:
        return {event for (event,) in connection.execute("SELECT event FROM notice")}


def answers(house, request):
    with house.store.reading() as connection:
        sql = "SELECT payload FROM answer WHERE request_id = ? ORDER BY seq"
        rows = connection.execute(sql, (request.id,)).fetchall()
    return [verify_answer(row[0], gate.GATEWAY, house.key.public_key()).status for row in rows]


@pytest.mark.parametrize(
    ("phase", "event"), list(itertools.product(Phase, Event)), ids=lambda one: one.value.replace(" ", "-")
)
def test_every_cell_of_a_request(house, phase, event):
    """A cell becomes what the table says, all of it and nothing else; what has no cell changes nothing."""
    request = take_in(house)
    for before, cameras in PATHS[phase]:
        apply(house, request, before, cameras)
    stood, entered, answered = everything(house), kinds(house), answers(house, request)
    row = REQUEST.get((phase, event))
    aftermath = Aftermath()
    if row is None:
        with pytest.raises(WithdrawnError):
            apply(house, request, event, {}, aftermath)
        assert everything(house) == stood
        assert aftermath == Aftermath()
        return
    apply(house, request, event, {}, aftermath)
    stored = house.store.requests.read(request.id)
    assert house.register.find_phase(stored) is row.phase
    assert kinds(house)[len(entered) :] == [shape.kind for shape in row.entries]
    added = [] if row.answer is None else [row.answer]
    recalled = phase is Phase.KEY_WAITS and row.cameras in (CameraEvent.END, CameraEvent.RECALL)
    assert answers(house, request) == [*answered[: -1 if recalled else None], *added]
    assert [each.id for each in aftermath.told] == ([request.id] if row.notice else [])
    assert bool(aftermath.stopped) == (row.phase in ENDED)


@pytest.mark.parametrize(("phase", "event"), REQUEST, ids=lambda one: one.value.replace(" ", "-"))
def test_the_owner_is_told_of_the_cells_that_say_so(house, phase, event):
    """One row to be told, named by the phase that is reached; none for a cell without a notice."""
    request = take_in(house)
    for before, cameras in PATHS[phase]:
        apply(house, request, before, cameras)
    told = notices(house)
    apply(house, request, event, {})
    row = REQUEST[phase, event]
    assert notices(house) == (told | {row.phase.value} if row.notice else told)


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(CameraState, CameraEvent)), ids=lambda one: one.value.replace(" ", "-")
)
def test_every_cell_of_a_camera(house, state, event):
    """Key and payload meet the fate of the table, recorded with the state; what has no cell changes nothing."""
    request = in_state(house, state)
    stood = everything(house)
    cell = CAMERA.get((state, event))
    aftermath = Aftermath()
    if cell is None:
        with pytest.raises(WithdrawnError):
            apply(house, request, Event.LESS, {"door": CameraStep(event)}, aftermath)
        assert everything(house) == stood
        return
    apply(house, request, Event.LESS, {"door": CameraStep(event)}, aftermath)
    stored = house.store.requests.read(request.id)
    found = house.store.releases.list_of(request.id)
    had = state not in (CameraState.NONE, CameraState.NO_FOOTAGE, CameraState.FAILED, CameraState.WAITING)
    assert_state(stored, found, cell)
    with house.store.transaction() as connection:
        waits = house.store.outbox.has_waiting_key(connection, request.id)
    was_queued = state in (CameraState.KEY_WAITS, CameraState.KEY_GIVEN)
    assert waits == (was_queued and cell.key in (KeyFate.KEEP, KeyFate.QUEUE, KeyFate.GIVE))
    if cell.key in (KeyFate.KEEP, KeyFate.QUEUE, KeyFate.RECALL):
        assert not (had and state is not CameraState.KEY_GIVEN) or found[0].header == b"age"
    else:
        assert all(each.header == b"" for each in found)
        assert b"age-of-the-door" not in b"".join(each.read_bytes() for each in house.folder.glob("store.sqlite*"))
    is_stored = state is not CameraState.NONE
    assert len(aftermath.payloads) == (is_stored and cell.payload is not PayloadFate.KEEP)
    doomed = house.store.releases.find_doomed_upload()
    assert (doomed is not None) == (had and cell.payload is PayloadFate.DELETE_EVERYWHERE)


def in_state(house, state):
    """A granted request whose door stands somewhere, with a header, an upload, and perhaps a key in the outbox."""
    request = take_in(house)
    apply(house, request, Event.GRANT, {})
    if state is CameraState.NONE:
        return request
    given, waits = state is CameraState.KEY_GIVEN, state in (CameraState.KEY_WAITS, CameraState.KEY_GIVEN)
    stored = ReleaseState.DELIVERED if waits else ReleaseState(state.value)
    has_bundle = waits or state in (CameraState.BUILT, CameraState.UPLOADED)
    header, url = (b"age", "https://upload.example/x") if has_bundle else (b"", "")
    info = Waiting(0) if state is CameraState.WAITING else BUNDLE if has_bundle else Ended({}, "no-footage")
    with house.store.transaction() as connection:
        release = StoredRelease(request.id, "door", stored, "file-door", info, b"" if given else header, url)
        house.store.releases.save(connection, release)
        if waits:
            house.store.requests.update(connection, request.id, RequestState.DELIVERED)
            house.store.outbox.push_answer(
                connection,
                request.id,
                OutboxMessage("t", b"key", request.correlation, gate.NOW, gate.NOW + 1, request.id),
            )
        if given:
            house.store.requests.mark_handed_over(connection, request.id)
    return request


def assert_state(stored, found, cell):
    if cell.state is CameraState.NONE:
        assert found == []
    elif found and cell.state is not CameraState.KEY_WAITS:
        # A camera whose key is queued waits with its request, whose own event this is not.
        assert camera_state(stored, found[0]) is cell.state


def test_every_phase_is_reached_and_every_cell_leads_to_one():
    """No row leads nowhere, and no phase but the first comes from nothing."""
    assert {row.phase for row in REQUEST.values()} == set(Phase) - {Phase.NEW}
    assert not {phase for phase, _ in REQUEST} & ENDED
    assert {cell.state for cell in CAMERA.values()} == set(CameraState)


def test_what_is_revoked_during_an_upload_is_a_row():
    """Its request is cancelled, its header is destroyed, what is uploaded of it is deleted here and there."""
    row = REQUEST[Phase.UPLOADING, Event.STOP]
    assert (row.phase, row.answer, row.cameras) == (Phase.CANCELLED, Status.CANCELLED, CameraEvent.END)
    for state in (CameraState.BUILT, CameraState.UPLOADED):
        for event in (row.cameras, CameraEvent.LEAVE):  # of all of its cameras, and of one of them
            cell = CAMERA[state, event]
            assert (cell.key, cell.payload) == (KeyFate.DESTROY, PayloadFate.DELETE_EVERYWHERE)


def test_nothing_keeps_the_owner_from_stopping():
    """Whatever a request or one of its cameras is at, there is a row for its end: a pause can never fail on one."""
    for phase in (Phase.ASKED, Phase.GRANTED, Phase.UPLOADING, Phase.KEY_WAITS, Phase.KEY_GIVEN):
        events = {Event.STOP, Event.DENIAL, Event.OVERDUE, Event.CAMERAS_LEFT, Event.LESS}
        assert events <= {event for each, event in REQUEST if each is phase}
    stored = set(CameraState) - {CameraState.NONE, CameraState.KEY_GIVEN}
    assert {(state, CameraEvent.END) for state in stored} <= set(CAMERA)
    assert {(state, CameraEvent.LEAVE) for state in stored} <= set(CAMERA)


def test_nothing_comes_back_and_no_key_leaves_twice_over():
    """An ended request stays ended; a key that was given is never destroyed, recalled or queued again."""
    given = {cell.key for (state, _), cell in CAMERA.items() if state is CameraState.KEY_GIVEN}
    assert given == {KeyFate.GIVE, KeyFate.TOO_LATE}
    assert {row.phase for (phase, _), row in REQUEST.items() if phase is Phase.KEY_GIVEN} == {Phase.KEY_GIVEN}


def test_a_kill_behind_the_commit_loses_no_deletion(house):
    """What lies outside of SQLite is done at the next start: the file at home, the upload at its server."""
    house.uploader.before = lambda: house.stop.set() or None
    request = house.ask()
    apply(house, request, Event.CAMERA, ENTER)
    apply(house, request, Event.CAMERA, BUILD)
    house.staging.path("file-door").write_bytes(b"ciphertext")
    house.uploader.urls["https://upload.example/file-door"] = "door"
    apply(house, request, Event.STOP, {})
    house.restart()
    assert house.staged() == []
    house.uploader.on_forget = house.store.close
    with pytest.raises(Exception, match="closed"):
        house.worker.turn()
    house.uploader.on_forget = lambda: None
    house.restart()
    house.worker.turn()
    house.worker.turn()
    assert house.uploader.forgotten == ["door", "door"], "asked again: the first answer was not noted"
    assert house.store.releases.find_doomed_upload() is None


def test_an_upload_that_cannot_be_deleted_is_tried_a_bounded_number_of_times(house):
    """And holds up nothing else meanwhile."""

    def refuse():
        tries.append(1)
        raise OSError("server is away")

    tries = []
    house.uploader.on_forget = refuse
    request = house.ask()
    apply(house, request, Event.CAMERA, ENTER)
    apply(house, request, Event.CAMERA, BUILD)
    apply(house, request, Event.STOP, {})
    for _ in range(30):
        house.worker.turn()
        house.worker.turn()
        house.clock.advance(6 * 60 * 10**9)
    assert len(tries) == 12
    assert house.store.releases.find_doomed_upload() is None


def test_a_step_with_other_entries_than_its_cells_is_refused(house):
    """The table decides the ledger's entry, not the caller."""
    request = take_in(house)
    stood = everything(house)
    with pytest.raises(AssertionError, match="entries"), house.store.transaction() as connection:
        house.register.apply(connection, request.id, RequestStep(Event.GRANT, gate.NOW))
    assert everything(house) == stood


def test_the_state_of_a_request_changes_in_one_place():
    """No module but the register moves a request, a release, a key or an upload that is to be deleted."""
    moves = {"requests.update", "requests.mark_handed_over", "releases.save", "releases.remove", "releases.doom_upload"}
    moves |= {"outbox.recall_key", "outbox.drop_key", "outbox.push_answer"}
    found = set()
    for path in (ROOT / "edge_agent").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node).endswith(tuple(f".{move}" for move in moves)):
                found.add(path.relative_to(ROOT / "edge_agent").as_posix())
    assert found == {"uplink/inbound/register.py"}


def test_the_protocol_has_the_tables(capsys):
    """PROTOCOL 9.1 is what ``python -m edge_agent.uplink.inbound.lifecycle`` prints."""
    lifecycle.main()
    text = (ROOT / "docs" / "PROTOCOL.md").read_text()
    section = re.search(r"^### 9\.1 .*?(?=^#+ \d)", text, re.S | re.M)[0]
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in section
