"""Drop-ins for the systemd services: they depend on this machine and not on the program.

Run by ``scripts/install`` as ``python -m edge_agent.setup.dropins CONFIG SERVICE SYSTEMD_VERSION``; prints the drop-in,
which may be empty. A unit's own text never changes, so that an upgrade can replace it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from edge_agent.custody.keys import KEY_HOLDER, custody_note_path
from edge_agent.settings.gateway import Config, load_config

STATE_DIR = Path("/var/lib/edge-agent")
RESTART_STEPS_SINCE = 254


def encode_dropin(config: Config, service: str, systemd_version: int) -> str:
    """Return the drop-in of ``recorder`` or ``releaser``.

    Folders outside the state folder are opened for writing and waited for; sealed keys are handed over; from systemd
    254 on, restarts come in steps from 1 s to 60 s.
    """
    mirror = [config.buffer.mirror_dir] if config.buffer.mirror_dir is not None else []
    folders = [*config.ring_folders, *mirror, config.recorder_state_dir] if service == "recorder" else [
        config.staging_dir, config.holds_dir, config.waivers_dir, config.store_path.parent,
    ]  # fmt: skip
    outside = sorted({str(folder) for folder in folders if not folder.is_relative_to(STATE_DIR)})
    needed = sorted({*outside, *(str(each) for each in config.ring_folders if not each.is_relative_to(STATE_DIR))})
    unit = [f"RequiresMountsFor={' '.join(needed)}"] if needed else []
    lines = [f"ReadWritePaths={' '.join(outside)}"] if outside else []
    if systemd_version >= RESTART_STEPS_SINCE:
        lines += ["RestartSec=1", "RestartSteps=6", "RestartMaxDelaySec=60"]
    if custody_note_path(config.state_dir).exists():
        names = [name for name, role in KEY_HOLDER.items() if role == service]
        lines += [f"LoadCredentialEncrypted={name}:edge-agent.{name}" for name in names]
    text = "".join(f"{line}\n" for line in (["[Unit]", *unit] if unit else []))
    return text + "".join(f"{line}\n" for line in (["[Service]", *lines] if lines else []))


def main(arguments: Sequence[str]) -> int:
    """Print one drop-in."""
    config_path, service, systemd_version = arguments
    print(encode_dropin(load_config(Path(config_path)), service, int(systemd_version)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
