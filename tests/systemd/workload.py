"""What recorder and releaser do all day, in one process and its child; run under a unit's restrictions by test_units.

Prints ``done`` at its end. Every step that the filter breaks raises.
"""

import ctypes
import io
import mmap
import os
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edge_agent.host.clock import read_boot_id, read_kernel_time


def code_video() -> None:
    for name, container in (("libx264", "nut"), ("libx265", "mp4")):
        sink = io.BytesIO()
        with av.open(sink, "w", format=container) as output:
            stream = output.add_stream(name, rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.time_base = 320, 180, "yuv420p", Fraction(1, 25)
            for _ in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((180, 320, 3), 90, np.uint8), format="bgr24")
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        with av.open(io.BytesIO(sink.getvalue())) as source:
            pictures = [frame.to_ndarray(format="bgr24") for frame in source.decode(video=0)]
        assert len(pictures) == 10


def look_at_pictures() -> None:
    picture = np.zeros((1080, 1920, 3), np.uint8)
    cv2.fillPoly(picture, [np.array([[0, 0], [900, 0], [900, 900]], np.int32)], (255, 255, 255))
    cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (21, 21), 0)
    assert cv2.imencode(".png", cv2.resize(picture, (320, 180)))[0]
    cv2.createBackgroundSubtractorMOG2().apply(picture)


def seal_and_sign() -> None:
    vault, signer = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
    key = ChaCha20Poly1305.generate_key()
    assert suite.decrypt(suite.encrypt(key, vault.public_key(), b"info"), vault, b"info") == key
    signer.public_key().verify(signer.sign(key), key)
    ChaCha20Poly1305(key).encrypt(bytes(12), bytes(1 << 20), b"")


def write_files(folder: Path) -> None:
    ring = os.open(folder / "ring", os.O_RDWR | os.O_CREAT, 0o640)
    os.posix_fallocate(ring, 0, 8 << 20)
    os.pwrite(ring, bytes(4096), 4096)
    os.fdatasync(ring)
    os.posix_fadvise(ring, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(ring)
    (folder / "a").write_text("x")
    os.rename(folder / "a", folder / "b")
    os.link(folder / "b", folder / "c")
    with sqlite3.connect(folder / "state.sqlite") as database:
        database.execute("pragma journal_mode=wal")
        database.execute("pragma synchronous=full")
        database.execute("create table t (a)")
    database.close()


def talk(folder: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(folder / "s"))
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(folder / "s"))
    peer, _ = server.accept()
    peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=listener.accept) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in threads:
            socket.create_connection(listener.getsockname(), 5).close()
        for thread in threads:
            thread.join(5)
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    socket.getaddrinfo("localhost", 554)
    ssl.create_default_context()
    os.close(os.memfd_create("tls", os.MFD_CLOEXEC))


def start_children() -> None:
    program = "import resource, av, cv2; resource.setrlimit(resource.RLIMIT_CPU, (60, 60)); print('child')"
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert child.stdout == "child\n", child.stderr


def ask_the_system() -> None:
    read_kernel_time()
    read_boot_id()
    os.sched_getaffinity(0)
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(512)
    assert libc.adjtimex(timex) >= 0, "the kernel's clock state cannot be asked"


def try_what_is_forbidden() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    attempts = {
        "write and execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
        "raw packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "set-user-id": lambda: os.mkdir(tempfile.mkdtemp() + "/x", 0o4755),
        "chroot": lambda: os.chroot("/"),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError:
            continue
        raise AssertionError(f"not forbidden: {name}")
    for name in ("unshare", "mount", "ptrace", "setns", "swapoff", "delete_module", "reboot"):
        assert getattr(libc, name)(0x10000000, 0, 0, 0, 0) == -1, name
        assert ctypes.get_errno() == 1, name  # EPERM, by the filter, whatever the arguments


def main() -> None:
    code_video()
    look_at_pictures()
    seal_and_sign()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        talk(Path(folder))
    start_children()
    ask_the_system()
    try_what_is_forbidden()
    print("done")


if __name__ == "__main__":
    main()
