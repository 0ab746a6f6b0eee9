"""The owner's export of five minutes out of an hour into MP4, over ffmpeg copying the same out of MP4 segments.

Ours reads the ring, decrypts and has the clip child write the MP4; both write to a file in the same folder. CPU seconds
of both process trees; the wall time stands beside them. ``BENCH_MINUTES`` says how much is recorded (60),
``BENCH_WANTED`` how much of it is wanted (5).
"""

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.measure import Row, Series, alternate, demand_programs, parse_arguments, report
from bench.recorded import BITS_S, Recorded
from edge_agent.buffer.read.reader import RingReader
from edge_agent.protocol.request import Quality
from edge_agent.protocol.verdict import ExportOrder
from edge_agent.units import MINUTE_NS, SECOND_NS, UtcNs
from edge_agent.uplink.bundle.export import export_footage

GOAL = 2.0
_CAMERA = "front"


class Contest:
    """An hour, recorded in both forms."""

    def __init__(self, folder: Path, minutes: int, wanted: int) -> None:
        self._folder, self._wanted = folder, wanted
        self._vault = X25519PrivateKey.generate()
        (folder / "plain").mkdir()
        start = UtcNs(time.time_ns() // SECOND_NS * SECOND_NS - minutes * MINUTE_NS)
        self._recorded = Recorded(folder / "front.ring", folder / "plain", _CAMERA, start, minutes)
        self._recorded.write(self._vault.public_key(), Ed25519PrivateKey.generate())
        self.wall_s: dict[str, list[float]] = {"ours": [], "ffmpeg": []}

    def ours(self) -> float:
        """Export once; the CPU seconds."""
        window, _ = self._recorded.last(self._wanted)
        order = ExportOrder("bench", _CAMERA, Quality.MAIN, window, "", window.end)
        out = self._folder / "ours.mp4"

        def export() -> None:
            reader = RingReader.open(self._recorded.ring, self._vault)
            try:
                with out.open("wb") as file:
                    export_footage(reader, order, file)
            finally:
                reader.close()

        return self._measure("ours", export, out)

    def theirs(self) -> float:
        """Copy once; the CPU seconds."""
        _, names = self._recorded.last(self._wanted)
        out, listed = self._folder / "theirs.mp4", self._recorded.segments / "wanted.txt"
        listed.write_text("".join(f"file '{name}'\n" for name in names))
        words = ["ffmpeg", "-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", str(listed), "-c", "copy", str(out)]
        return self._measure("ffmpeg", lambda: subprocess.run(words, check=True), out)

    def _measure(self, name: str, work: Callable[[], object], out: Path) -> float:
        before_s, began_s = _used_s(), time.perf_counter()
        work()
        used_s = _used_s() - before_s
        self.wall_s[name].append(time.perf_counter() - began_s)
        if out.stat().st_size < 0.9 * self._wanted * 60 * BITS_S / 8:
            raise SystemExit(f"not all of it was exported: {out.name}")
        out.unlink()
        return used_s


def _used_s() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


def main() -> int:
    """Run it."""
    args = parse_arguments("export", __doc__ or "")
    demand_programs("export", "ffmpeg")
    minutes, wanted = (int(os.environ.get(f"BENCH_{name}", usual)) for name, usual in (("MINUTES", 60), ("WANTED", 5)))
    with tempfile.TemporaryDirectory(prefix="eb-", dir=os.environ.get("BENCH_DIR")) as name:
        contest = Contest(Path(name), minutes, wanted)
        found = alternate(args.runs, {"ours": contest.ours, "ffmpeg": contest.theirs})
    ratio = found["ours"].over(found["ffmpeg"])
    walls = {name: Series(tuple(times)).median for name, times in contest.wall_s.items()}
    note = (
        f"{ratio}; CPU {found['ours'].median:.2f} s against {found['ffmpeg'].median:.2f} s,"
        f" in {walls['ours']:.2f} s against {walls['ffmpeg']:.2f} s"
    )
    name = f"{wanted} of {minutes} min into MP4, CPU ÷ ffmpeg"
    return report("export", args, [Row(name, ratio.median, GOAL, "", note, found.doubt("ffmpeg"))])


if __name__ == "__main__":
    raise SystemExit(main())
