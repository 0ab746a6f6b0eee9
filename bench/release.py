"""A release against its floor: ring → clip → bundle → tus, over ``ffmpeg -c copy | age | curl -T`` of the same minutes.

Both over mutual TLS to the same server on loopback, which writes to disk. Ours runs in a process that was started
before, as the releaser is; theirs from plain MP4 segments. ``BENCH_MINUTES`` says how much, such as ``1 5 30 60``; the
first ratio is of 5 minutes. The memory is the releaser's alone, without its clip child.
"""

import hashlib
import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.measure import Row, interleave, parse_arguments, report
from edge_agent import jws
from edge_agent.buffer.reader import RingReader
from edge_agent.clock import SystemClock
from edge_agent.process import harden
from edge_agent.units import SECOND_NS, UtcNs, Window
from edge_agent.uplink import bundle
from edge_agent.uplink.delivery import TusUploader
from edge_agent.uplink.mandate import GrantMandate
from tests.buffer.rig import make_grant

GOAL, RSS_GOAL_MB = 1.5, 120.0
START = UtcNs(1_800_000_000 * SECOND_NS)
_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def release_once(folder: Path, minutes: float, port: int) -> dict[str, float]:
    """Release everything once; seconds per stage, and the largest RSS."""
    vault = X25519PrivateKey.from_private_bytes((folder / "vault.key").read_bytes())
    recorder = Ed25519PrivateKey.from_private_bytes((folder / "recorder.key").read_bytes()).public_key()
    gateway = Ed25519PrivateKey.generate()
    grant = make_grant(Window(START, UtcNs(START + int(minutes * 60) * SECOND_NS)))
    grant = replace(grant, request=replace(grant.request, jti=_ID))
    context = ssl.create_default_context(cafile=folder / "pki" / "ca.pem")
    context.load_cert_chain(folder / "pki" / "gateway.pem", folder / "pki" / "gateway.key.pem")
    uploader = TusUploader(f"https://127.0.0.1:{port}/files/", context, SystemClock())
    begun = time.perf_counter()
    with RingReader.open(folder / "door.main.ring", vault, recorder) as reader, (folder / "staged").open("wb+") as out:
        facts = bundle.BundleFacts(
            gateway=_ID, made_at=grant.decided_at, version="0", build_sha256=bytes(32), custody="bare",
            camera_name="door", ring_id=reader.superblock.ring_id, health={}, ledger_proof={},
            recorder_public=recorder, gateway_key=gateway,
            recipients=(bundle.BundleRecipient("evidence", (folder / "recipient").read_text()),),
        )  # fmt: skip
        info = bundle.build(GrantMandate(grant, grant.cameras[0], b"{}", bytes(32)), reader, facts, out)
        out.flush()
        os.fsync(out.fileno())
        built = time.perf_counter()
        if info.gaps or not info.clips:
            raise SystemExit(f"the benchmark lost footage: {info.gaps}")
        uploader.upload(out, info.size, {}, upload_url=None, save_url=lambda _: None)
    answer = jws.sign("clip-answer+jws", {"age_header": info.age_header.decode("latin-1")}, [gateway])
    done = time.perf_counter()
    uploader.close()
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    with (folder / "taken").open("rb") as taken:
        digest = hashlib.file_digest(taken, "sha256").digest()
    if digest != info.sha256 or not answer or peak is None:
        raise SystemExit("the server got something else than was built")
    return {"total": done - begun, "bundle": built - begun, "upload": done - built, "rss_mb": int(peak[1]) / 1000}


class Contest:
    """Footage of one length, and both ways to get it out."""

    def __init__(self, folder: Path, minutes: float, port: int) -> None:
        self.folder, self.minutes, self.port = folder, minutes, port
        self.rss_mb = self.bundle_s = 0.0
        subprocess.run([sys.executable, "-m", "bench.recorded", folder, str(minutes)], check=True)

    def ours(self) -> float:
        command = [sys.executable, "-m", "bench.release", "--once", str(self.folder), str(self.minutes), str(self.port)]
        taken = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        self.rss_mb, self.bundle_s = max(self.rss_mb, taken["rss_mb"]), taken["bundle"]
        return float(taken["total"])

    def theirs(self) -> float:
        pki, recipient = self.folder / "pki", (self.folder / "recipient").read_text()
        script = (
            "ffmpeg -v error -f concat -safe 0 -i segments.txt -c copy -f mp4 -movflags frag_keyframe+empty_moov pipe:1"
            f" | age -r {recipient} | curl -sS -f -T - --cacert {pki}/ca.pem --cert {pki}/gateway.pem"
            f" --key {pki}/gateway.key.pem https://127.0.0.1:{self.port}/files/one"
        )
        begun = time.perf_counter()
        subprocess.run(["bash", "-o", "pipefail", "-c", script], check=True, cwd=self.folder)
        return time.perf_counter() - begun


def measure(minutes: float, runs: int) -> tuple[Row, Row]:
    """Measure one length; the ratio, and the memory."""
    from tests.peers.pki import Pki

    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        pki = Pki(folder / "pki")
        pki.client_files("gateway")
        server = pki.server_files()
        (folder / "recipient").write_text(str(pyrage.x25519.Identity.generate().to_public()))
        files = map(str, (folder / "taken", server.ca, server.certificate, server.key))
        command = [sys.executable, "-m", "bench.sink", *files]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sink:
            try:
                assert sink.stdout is not None
                contest = Contest(folder, minutes, int(sink.stdout.readline()))
                times = interleave(runs, {"ours": contest.ours, "theirs": contest.theirs})
            finally:
                sink.kill()
    note = f"ours {times['ours']:.2f} s (bundle {contest.bundle_s:.2f} s), theirs {times['theirs']:.2f} s"
    return (
        Row(f"{minutes:g} min", times["ours"] / times["theirs"], GOAL, note=note),
        Row(f"{minutes:g} min, RSS of the releaser", contest.rss_mb, RSS_GOAL_MB, "MB"),
    )


def main() -> int:
    """Measure all lengths; return the exit code."""
    if sys.argv[1:2] == ["--once"]:
        harden(gives_memory_back=False)  # as the releaser does
        print(json.dumps(release_once(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))))
        return 0
    args = parse_arguments("release", __doc__ or "")
    lengths = sorted(map(float, os.environ.get("BENCH_MINUTES", "5").split()), key=lambda minutes: minutes != 5)
    rows = [row for minutes in lengths for row in measure(minutes, max(args.runs, 5))]
    return report("release", args, rows)


if __name__ == "__main__":
    sys.exit(main())
