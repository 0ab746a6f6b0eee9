"""``rtcc receive``: the upload server."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from edge_agent.errors import ConfigError, UsageError
from edge_agent.host.clock import SystemClock
from edge_agent.rtcc.announced import is_announced
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.deliveries import find_signed_digest
from edge_agent.rtcc.office.home import RtccHome
from edge_agent.rtcc.office.renewal import renew

_NO_PACKAGES = "the receiver's packages are not installed: {}"
_INSTALL = "in a checkout: pip install '.[rtcc]'"
_EPILOG = """\
examples:
  rtcc enrol --server localhost              once: its certificate
  rtcc receive                               localhost:8443, into the home's received/
  rtcc receive --listen 0.0.0.0:8443 --name uploads.example --into /srv/evidence
  rtcc receive --rules /run/rtcc/rules.sock  take nothing in: answer city/uploads, which does

Takes uploads from enrolled gateways alone (mutual TLS), and of those only what a `queued` answer announced: keep
`rtcc watch` running beside it, or every upload waits. Resumes after any break, and can open none of them: the key comes
with the signed answer, to `rtcc watch`. A gateway whose certificate is near its end gets a further one here, if the
authority's key can be read. Needs the extra; in a checkout: pip install '.[rtcc]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    add_home(parser)
    parser.add_argument("--listen", default="127.0.0.1:8443", metavar="ADDRESS:PORT", help="[%(default)s]")
    parser.add_argument("--name", default="localhost", help="whose certificate to show, as enrolled [%(default)s]")
    parser.add_argument("--into", type=Path, metavar="DIR", help="finished uploads [received/ in the home]")
    parser.add_argument(
        "--rules", type=Path, metavar="SOCKET", help="answer the upload server of an object store at this socket"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    home = open_home(args)
    if args.rules is not None:
        return _answer(home, args.rules)
    host, _, port = args.listen.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise UsageError(f"not an address: {args.listen[:80]!r}", "ADDRESS:PORT, such as 127.0.0.1:8443")
    certificate, key = home.tls_paths(args.name)
    if not certificate.exists():
        raise ConfigError(f"no certificate of this name: {args.name}", f"rtcc enrol --server {args.name}")
    try:
        from edge_agent.rtcc.receiver import Receiver, ReceiverSettings
    except ImportError as error:
        raise ConfigError(_NO_PACKAGES.format(error), _INSTALL) from error
    try:
        receiver = Receiver(
            ReceiverSettings(
                host=host.strip("[]"),
                port=int(port),
                ca=home.ca_path,
                certificate=certificate,
                key=key,
                uploads_dir=home.path / "uploads",
                received_dir=args.into or home.received_dir,
            ),
            *_rules_of(home),
        )
    except OSError as error:
        raise ConfigError(f"cannot listen: {args.listen}: {error.strerror}") from error
    print(f"receiving at {receiver.url}", flush=True)
    receiver.serve()
    return 0


def _answer(home: RtccHome, path: Path) -> int:
    try:
        from edge_agent.rtcc.upload_rules import UploadRules
    except ImportError as error:
        raise ConfigError(_NO_PACKAGES.format(error), _INSTALL) from error
    try:
        rules = UploadRules(path, *_rules_of(home))
    except OSError as error:
        raise ConfigError(f"cannot listen: {path}: {error.strerror}") from error
    print(f"answering at {path}", flush=True)
    rules.serve()
    return 0


def _rules_of(
    home: RtccHome,
) -> tuple[
    Callable[[str, str], bool],
    Callable[[str, str], None],
    Callable[[str, str], str | None],
    Callable[[str], bool],
    Callable[[str, bytes, bytes], bytes],
]:
    """Return the answers for both upload servers: uploads announced, received, signed for, revoked, and renewals."""
    return (
        lambda gateway, name: is_announced(home, gateway, name, SystemClock().utc()),
        lambda gateway, name: print(f"received: gateway={gateway} upload={name}", flush=True),
        lambda gateway, name: find_signed_digest(home, gateway, name),
        home.is_gateway_revoked,
        lambda gateway, shown, raw: renew(
            home, gateway, x509.load_der_x509_certificate(shown), raw, SystemClock().utc()
        ),
    )
