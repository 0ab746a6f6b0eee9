"""The note of an update that has begun: a power cut in the middle ends in one of two versions, never between them.

Owns ``journal.json``, ``target.deb`` and the two packages in root's own folder. ``target.deb`` is a link to the package
that must be installed, so that the unit which resumes after a power cut needs no program of ours to lay it down.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_agent.errors import UpdateError
from edge_agent.host.atomic_file import sync_folder, write_small_file
from edge_agent.host.regular_file import open_reader, read_regular

NEXT, BEFORE, TARGET, JOURNAL = "next.deb", "before.deb", "target.deb", "journal.json"


@dataclass(frozen=True, slots=True)
class Begun:
    """An update under way."""

    before: str
    after: str
    is_going_back: bool
    services: tuple[str, ...]
    """The units that ran when it began, and must run when it ends."""


class Journal:
    """The journal of one folder; every method is durable when it returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Return where a package lies."""
        return self._folder / name

    def read(self) -> Begun | None:
        """Return the update that was begun and not ended, or None."""
        try:
            found = json.loads(read_regular(self._folder / JOURNAL))
            return Begun(found["before"], found["after"], found["is_going_back"] is True, tuple(found["services"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UpdateError(f"{self._folder / JOURNAL} is damaged", "docs/recovery.md, updates") from error

    def begin(self, begun: Begun, package: Path, way_back: Path | None) -> None:
        """Keep both packages and note that the first is to be installed."""
        for name, source in ((NEXT, package), (BEFORE, way_back)):
            if source is None:
                self.path(name).unlink(missing_ok=True)
                continue
            shutil.copyfile(source, self.path(name))
            with open_reader(self.path(name)) as file:
                os.fsync(file.fileno())
        # The journal last: edge-agent-update-resume.service waits for that file alone, and then
        # lays the target down unasked. Before it, a power cut leaves an update that never began.
        self._aim(NEXT)
        self._write(begun)

    def go_back(self, begun: Begun) -> None:
        """Note that the package before is to be installed from now on."""
        # The target first. A power cut between the two: the old package is laid down, the new one
        # is tried once more, and the update ends by its outcome then.
        self._aim(BEFORE)
        self._write(Begun(begun.before, begun.after, True, begun.services))

    def end(self) -> None:
        """Forget the update: it is carried out, or taken back."""
        # The journal first, and durably: with a journal and without its packages, the update could
        # be ended in neither direction.
        (self._folder / JOURNAL).unlink(missing_ok=True)
        sync_folder(self._folder)
        for name in (TARGET, NEXT, BEFORE):
            self.path(name).unlink(missing_ok=True)

    def _aim(self, name: str) -> None:
        draft = self.path(TARGET).with_suffix(".part")
        draft.unlink(missing_ok=True)
        # A link that is renamed into place: at each moment the target is one of the two packages.
        draft.symlink_to(name)
        draft.rename(self.path(TARGET))
        sync_folder(self._folder)

    def _write(self, begun: Begun) -> None:
        write_small_file(self._folder / JOURNAL, json.dumps(asdict(begun)).encode(), mode=0o600)
