"""Updates end to end: a real web server, real metadata with keys of the moment, a machine that can fail anywhere."""

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edge_agent.errors import EdgeAgentError, UpdateError
from edge_agent.units import ClockState
from edge_agent.update.journal import Journal
from edge_agent.update.procedure import Outcome, Procedure
from edge_agent.update.release_list import find_step, parse_list
from edge_agent.update.repository import Repository
from package.repository import DraftError
from tests.support.fakes import FakeClock
from tests.update.world import KIND, FakeMachine, Office, PowerCutError, deb, serve

NOW = datetime.now(UTC)


class Home:
    """One gateway and the office whose releases it takes."""

    def __init__(self, folder: Path, url: str, office: Office, root: bytes) -> None:
        self.folder, self.url, self.office, self.root = folder, url, office, root
        self.machine = FakeMachine("0.1.0")
        self.clock = FakeClock()
        self.notes: list[Outcome] = []

    def procedure(self) -> Procedure:
        return Procedure(
            lambda: Repository(self.folder, self.url, self.root),
            Journal(self.folder),
            self.machine,
            self.clock,
            self.notes.append,
            KIND,
        )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    office = Office(tmp_path)
    root = office.name_roles()
    office.release("0.1.0")
    with serve(office.web) as (url, asked):
        made = Home(tmp_path / "update", url, office, root)
        made.asked = asked  # type: ignore[attr-defined]
        yield made


def test_a_release_is_installed_and_noted(home: Home) -> None:
    """The newest release that two of three signed runs afterwards; asking again finds nothing newer."""
    assert home.procedure().carry_out() is None
    home.office.release("0.2.0")
    step = home.procedure().look()
    assert step is not None
    assert (step.before, step.after, home.machine.version) == ("0.1.0", "0.2.0", "0.1.0")
    assert home.procedure().carry_out() == Outcome("installed", "0.1.0", "0.2.0")
    assert set(home.machine.running.values()) == {"0.2.0"}
    assert [each.what for each in home.notes] == ["installed"]
    assert home.procedure().carry_out() is None
    assert (home.folder.stat().st_mode & 0o777) == 0o700


def attack_wrong_key(home: Home) -> None:
    other = Office(home.office.folder / "attacker")
    other.name_roles()
    other.release("9.0.0")
    shutil.rmtree(home.office.web)
    shutil.copytree(other.web, home.office.web)


def attack_wrong_root(home: Home) -> None:
    """A second root that the first one's persons did not sign."""
    office = home.office
    strangers = [CryptoSigner.generate_ed25519() for _ in range(3)]
    path = office.web / "metadata/1.root.json"
    root = Metadata.from_file(str(path))
    root.signed.version = 2
    for stranger in strangers:
        root.signed.add_key(stranger.public_key, "root")
        root.sign(stranger, append=True)
    root.to_file(str(office.web / "metadata/2.root.json"))


def attack_one_of_three(home: Home) -> None:
    """One stolen targets key and the online key."""
    office = home.office
    draft = office.draft("9.0.0")
    office.repository.sign(draft, office.targets[0])
    with pytest.raises(DraftError):
        office.repository.publish(office.online, NOW)
    shutil.move(draft, office.web / "metadata/3.targets.json")

    _point_at(office, targets=3)


def attack_same_person_twice(home: Home) -> None:
    office = home.office
    draft = office.draft("9.0.0")
    for _ in range(2):
        office.repository.sign(draft, office.targets[0])
    shutil.move(draft, office.web / "metadata/3.targets.json")
    _point_at(office, targets=3)


def _point_at(office: Office, targets: int) -> None:
    folder = office.web / "metadata"
    snapshot = Metadata.from_file(str(folder / "2.snapshot.json"))
    snapshot.signed.version = 3
    snapshot.signed.meta["targets.json"].version = targets
    snapshot.sign(office.online)
    snapshot.to_file(str(folder / "3.snapshot.json"))
    timestamp = Metadata.from_file(str(folder / "timestamp.json"))
    timestamp.signed.version = 3
    timestamp.signed.snapshot_meta.version = 3
    timestamp.sign(office.online)
    timestamp.to_file(str(folder / "timestamp.json"))


def attack_rollback(home: Home) -> None:
    """The state that the gateway saw yesterday is served again, each file of it properly signed."""
    kept = home.office.folder / "kept"
    shutil.copytree(home.office.web, kept)
    home.office.release("0.3.0")
    home.procedure().look()
    shutil.rmtree(home.office.web)
    shutil.copytree(kept, home.office.web)


def attack_freeze(home: Home) -> None:
    """Old but properly signed metadata, indefinitely."""
    home.office.release("0.3.0", now=NOW - timedelta(days=60))


def attack_mix_and_match(home: Home) -> None:
    """The timestamp of one state with the list of another."""
    folder = home.office.web / "metadata"
    old = (folder / "2.targets.json").read_bytes()
    home.office.release("0.3.0")
    (folder / "3.targets.json").write_bytes(old)


def attack_list_of_another_state(home: Home) -> None:
    targets = home.office.web / "targets"
    old = next(targets.glob("*.releases.json")).read_bytes()
    home.office.release("0.3.0")
    for path in targets.glob("*.releases.json"):
        path.write_bytes(old)


def change_package(change: Callable[[bytes], bytes]) -> Callable[[Home], None]:
    def attack(home: Home) -> None:
        path = next((home.office.web / "targets").glob(f"*.{deb('0.2.0')}"))
        path.write_bytes(change(path.read_bytes()))

    return attack


ATTACKS: dict[str, tuple[Callable[[Home], None], str]] = {
    "another office's keys": (attack_wrong_key, "signatures|older than"),
    "a root of strangers": (attack_wrong_root, "signatures"),
    "one of three and the online key": (attack_one_of_three, "signatures"),
    "one person signs twice": (attack_same_person_twice, "signatures"),
    "rollback": (attack_rollback, "older than"),
    "freeze": (attack_freeze, "expired"),
    "mix and match": (attack_mix_and_match, "older than"),
    "the list of another state": (attack_list_of_another_state, "not the file that was signed"),
    "a truncated package": (change_package(lambda content: content[:-1]), "not the file that was signed"),
    "an empty package": (change_package(lambda _: b""), "not the file that was signed"),
    "a longer package": (change_package(lambda content: content + b"x"), "longer than|not the file"),
    "a changed package": (change_package(lambda content: content[:-1] + b"x"), "not the file that was signed"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_changes_nothing(home: Home, name: str) -> None:
    """A holder of the web server, of the line or of one key of three gets nothing installed; what runs goes on."""
    attack, says = ATTACKS[name]
    home.office.release("0.2.0")
    attack(home)
    with pytest.raises(UpdateError, match=says) as error:
        home.procedure().carry_out()
    assert "signed" not in str(error.value) or error.value.hint
    assert (home.machine.version, home.machine.steps, home.notes) == ("0.1.0", 0, [])
    assert set(home.machine.running.values()) == {"0.1.0"}
    assert Journal(home.folder).read() is None


def test_a_server_that_is_away_changes_nothing(home: Home) -> None:
    """No answer and a missing file are said as that."""
    home.office.release("0.2.0")
    next((home.office.web / "targets").glob(f"*.{deb('0.2.0')}")).unlink()
    with pytest.raises(EdgeAgentError, match="does not give it"):
        home.procedure().carry_out()
    home.url = "http://127.0.0.1:9"
    with pytest.raises(EdgeAgentError, match="does not give it"):
        home.procedure().look()
    assert home.machine.steps == 0


def test_a_clock_that_is_not_believed_asks_nobody(home: Home) -> None:
    """Expiry means nothing to a wrong clock: not one request is sent."""
    home.office.release("0.2.0")
    home.clock.clock_state = ClockState.FLOOR_ONLY
    with pytest.raises(UpdateError, match="clock"):
        home.procedure().carry_out()
    assert home.asked == []  # type: ignore[attr-defined]


def test_roles_can_be_given_to_others(home: Home) -> None:
    """A new root that two of the old persons and two of the new ones signed is followed."""
    old, home.office.roots = home.office.roots, [CryptoSigner.generate_ed25519() for _ in range(3)]
    home.office.targets = [CryptoSigner.generate_ed25519() for _ in range(3)]
    home.office.name_roles([*old[1:], *home.office.roots[:2]])
    home.office.release("0.2.0")
    outcome = home.procedure().carry_out()
    assert outcome is not None
    assert outcome.what == "installed"


FAILURES: dict[str, dict[str, frozenset[str]]] = {
    "does not start": {"broken": frozenset({"0.2.0"})},
    "refuses the configuration": {"refused": frozenset({"0.2.0"})},
    "cannot be installed": {"uninstallable": frozenset({"0.2.0"})},
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_release_that_fails_is_taken_back(home: Home, name: str) -> None:
    """Back goes to the version that ran, which runs again; the owner's note says why."""
    for member, value in FAILURES[name].items():
        setattr(home.machine, member, value)
    home.office.release("0.2.0")
    outcome = home.procedure().carry_out()
    assert outcome is not None
    assert (outcome.what, outcome.before, outcome.after) == ("went back", "0.1.0", "0.2.0")
    assert outcome.why
    assert home.notes == [outcome]
    assert home.machine.version == "0.1.0"
    assert set(home.machine.running.values()) == {"0.1.0"}
    assert Journal(home.folder).read() is None


def test_never_back_below_the_minimum(home: Home) -> None:
    """A version below the list's minimum is no way back; without one an update begins on the owner's word alone."""
    home.office.release("0.2.0", minimum="0.2.0")
    with pytest.raises(UpdateError, match="holds no package"):
        home.procedure().carry_out()
    assert home.machine.steps == 0
    home.machine.broken = frozenset({"0.2.0"})
    outcome = home.procedure().carry_out(without_way_back=True)
    assert outcome is not None
    assert outcome.what == "failed"
    assert home.machine.version == "0.2.0"


@pytest.mark.parametrize("broken", [frozenset[str](), frozenset({"0.2.0"})], ids=["good", "bad"])
def test_a_power_cut_at_any_step_ends_in_one_of_two_versions(home: Home, broken: frozenset[str]) -> None:
    """Wherever the power goes, resuming ends with a whole version that runs, noted, and with nothing left over."""
    home.office.release("0.2.0")
    cut, went_back = 0, set[bool]()
    while True:
        cut += 1
        home.machine, home.notes = FakeMachine("0.1.0", broken=broken, cut_at=cut), []
        try:
            home.procedure().carry_out()
        except PowerCutError:
            begun = Journal(home.folder).read()
            assert begun is not None
            went_back.add(begun.is_going_back)
            # What the unit lays down before our program runs again.
            aim = (home.folder / "target.deb").readlink()
            assert str(aim) == ("before.deb" if begun.is_going_back else "next.deb"), cut
            home.machine.install(home.folder / "target.deb")
            assert home.procedure().resume() is not None
        else:
            break
        expected = "0.1.0" if broken else "0.2.0"
        assert home.machine.version == expected, cut
        assert set(home.machine.running.values()) == {expected}
        assert home.notes[-1].what == ("went back" if broken else "installed")
        assert Journal(home.folder).read() is None
        assert not list(home.folder.glob("*.deb"))
    assert cut > 5
    assert went_back == ({False, True} if broken else {False})


LISTS = {
    "not JSON": b"{",
    "another format": b'{"format": 2, "version": "1.0.0", "minimum": "1.0.0", "packages": {}}',
    "a version that is none": b'{"format": 1, "version": "1.0", "minimum": "1.0.0", "packages": {}}',
    "a path for a name": b'{"format": 1, "version": "1.0.0", "minimum": "1.0.0", "packages": {"": {"1.0.0": "../x"}}}',
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_another_form_is_refused(name: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(UpdateError, match="not understood"):
        parse_list(LISTS[name])


def test_a_list_below_its_minimum_or_without_our_package_is_refused() -> None:
    """A newest release that may not run, or not here, is no update."""
    text = '{{"format": 1, "version": "{}", "minimum": "1.0.0", "packages": {{"a/b": {{"2.0.0": "x.deb"}}}}}}'
    with pytest.raises(UpdateError, match="below its minimum"):
        find_step(parse_list(text.format("0.9.0").encode()), "0.1.0", "a/b")
    with pytest.raises(UpdateError, match="no package for"):
        find_step(parse_list(text.format("2.0.0").encode()), "0.1.0", "c/d")
    assert find_step(parse_list(text.format("2.0.0").encode()), "2.0.0", "a/b") is None
