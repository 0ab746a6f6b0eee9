"""Which ring files the words of a command name, and the keys that go with them. No command of its own."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge_agent.custody.keys import KeyStore
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.settings.gateway import Config, load_config
from edge_agent.setup.inspection import load_key


def load_config_if_any(args: argparse.Namespace) -> Config | None:
    """Load the configuration if it is needed or can be had; a named file does without."""
    if args.rings and all(Path(name).is_file() for name in args.rings) and not args.config.is_file():
        return None
    return load_config(args.config)


def find_rings(
    args: argparse.Namespace, config: Config | None, *, with_mirrors: bool = False
) -> Iterator[tuple[str, Path]]:
    """Yield name and path of every ring that is named, or of all; UsageError if a word names none."""
    if not args.rings:
        assert config is not None
        for camera, quality in config.rings():
            yield f"{camera.id}.{quality}", config.ring_path(camera.id, quality)
            mirror = config.mirror_path(camera.id, quality)
            if mirror is not None and with_mirrors:
                yield f"{camera.id}.{quality} mirror", mirror
    for name in args.rings:
        if Path(name).is_file():
            yield name, Path(name)
            continue
        camera_id, _, part = name.partition(".")
        if config is None or config.find_camera(camera_id) is None or part not in ("", "main", "sub"):
            raise UsageError(f"neither a camera nor a ring file: {name}")
        yield f"{camera_id}.{part or 'main'}", config.ring_path(camera_id, "sub" if part == "sub" else "main")


def find_vault_key(config: Config | None) -> tuple[X25519PrivateKey | None, str]:
    """Return the vault's private key if whoever runs this may read it, or why not: it adds the reasons of gaps."""
    if config is None:
        return None, "root sees it on the gateway that recorded"
    try:
        return load_key(config, "vault"), ""
    except EdgeAgentError as error:
        return None, str(error) if os.geteuid() == 0 else "root sees it (sudo edge-agent ring ls)"


def find_recorder_key(config: Config | None) -> Ed25519PublicKey | None:
    """Return the recorder's pinned public key, if there is a configuration that leads to it."""
    if config is None:
        return None
    try:
        return KeyStore(config.state_dir, "releaser").load_public("recorder")
    except EdgeAgentError:
        return None
