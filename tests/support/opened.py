"""A bundle taken apart, to be put together again, altered: what a thief or a gateway that lies would do."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import av
import pyrage

from edge_agent.protocol import jws
from edge_agent.protocol import manifest as names
from edge_agent.protocol.age_stream import find_header_end
from edge_agent.units import UtcNs
from edge_agent.uplink.bundle.zip_stream import ZipStream
from edge_agent.uplink.clip.mp4 import MUXER
from edge_agent.verifier.findings import Findings
from edge_agent.verifier.open import open_bundle
from tests.support.release import House


def pack(parts: Mapping[str, bytes]) -> bytes:
    """Put parts into the container as the gateway's own writer does."""
    stream = ZipStream(UtcNs(0))
    data = b"".join(chunk for name, part in parts.items() for chunk in stream.add(name, [part]))
    stream.close()
    return data + stream.take()


class Opened:
    """The parts of a bundle, and who could have made them.

    Args:
        folder: Where it is put together and opened.
        house: Its keys.
        whole: The age file.
        identity: Opens it.
        typ: Of its manifest.
    """

    def __init__(self, folder: Path, house: House, whole: bytes, identity: pyrage.x25519.Identity, typ: str) -> None:
        self.folder, self.house, self.identity, self.typ = folder, house, identity, typ
        end = find_header_end(whole)
        assert end is not None
        self.header, self.payload = whole[:end], whole[end:]
        with zipfile.ZipFile(io.BytesIO(pyrage.decrypt(whole, [identity]))) as bundle:
            self.parts = {name: bundle.read(name) for name in bundle.namelist()}

    @property
    def manifest(self) -> dict:
        return jws.parse(self.parts[names.MANIFEST], self.typ, max_bytes=names.MAX_MANIFEST_BYTES).payload

    def open(self, parts=None, known=None) -> Findings:
        """Put together, encrypt and open."""
        path = self.folder / "bundle.age"
        path.write_bytes(pyrage.encrypt(pack(parts or self.parts), [self.identity.to_public()]))
        return open_bundle(path, b"", str(self.identity), known or self.house.known(), self.folder / "out")

    def sign(self, parts, members=None, typ=None, key=None) -> dict[str, bytes]:
        """Sign the manifest anew over altered parts: what a gateway that lies would do."""
        members = dict(members or self.manifest)
        listed = [name for name in parts if name != names.MANIFEST]
        members["files"] = [
            {"name": name, "sha256": hashlib.sha256(parts[name]).hexdigest(), "bytes": len(parts[name])}
            for name in listed
        ]
        signed = names.sign_manifest(members, key or self.house.gateway, typ or self.typ)
        return {name: parts[name] for name in listed} | {names.MANIFEST: signed}


def open_release(folder: Path, house: House, asked, pieces, **options) -> Opened:
    """Record, grant, build, take apart."""
    house.record(pieces, **{k: options.pop(k) for k in ("is_closed",) if k in options})
    info, payload = house.build(house.grant(asked, *options.pop("granted", ()), **options))
    return Opened(folder, house, info.age_header + payload, house.evidence, names.TYP)


def open_export(folder: Path, house: House, wanted, pieces, **options) -> Opened:
    """Record, order, export, take apart."""
    house.record(pieces, **{k: options.pop(k) for k in ("is_closed",) if k in options})
    _, whole = house.export(house.order(wanted, **options))
    return Opened(folder, house, whole, house.own, names.EXPORT_TYP)


def edit_lines(data: bytes, change) -> bytes:
    """Change the lines of a file of JSON lines, in place or by returning others."""
    lines = [json.loads(line) for line in data.splitlines()]
    lines = change(lines) or lines
    return b"".join(json.dumps(line, separators=(",", ":"), sort_keys=True).encode() + b"\n" for line in lines)


def remux(data: bytes, keep) -> bytes:
    """Write a clip anew, of the packets that ``keep`` returns, as the muxer of a release would."""
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format="mp4", options=MUXER) as target:
        streams = {stream.index: target.add_stream_from_template(stream, opaque=True) for stream in source.streams}
        for stream in source.streams:
            streams[stream.index].time_base = stream.time_base
        for packet in keep([packet for packet in source.demux() if packet.size]):
            packet.stream = streams[packet.stream_index]
            target.mux_one(packet)
    return out.getvalue()
