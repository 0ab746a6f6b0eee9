"""The findings of ``edge-agent check`` on the resident's page: address, authority, certificates that end soon."""

from collections.abc import Iterator

from cryptography import x509

from edge_agent.errors import ConfigError
from edge_agent.host.regular_file import read_regular
from edge_agent.page.settings import ca_path, load_settings, settings_path, tls_path
from edge_agent.settings.gateway import Config
from edge_agent.setup.inspection import Inspected, Level, fault
from edge_agent.setup.page_authority import show_thumbprint
from edge_agent.setup.page_service import find_home_addresses, page_dir
from edge_agent.units import DAY_NS, SECOND_NS, UtcNs
from edge_agent.uplink.owner.adoption import adoption_path

WARN_NS = 30 * DAY_NS
_RENEW = "sudo edge-agent page on"


def inspect_page(config: Config, now: UtcNs) -> Iterator[Inspected]:
    """Look at the page's settings and certificate; nothing if it is off, or not ours to read."""
    folder = page_dir(config)
    try:
        if not settings_path(folder).exists():
            return
        settings = load_settings(folder)
        chain = x509.load_pem_x509_certificates(read_regular(tls_path(folder)))
        thumbprint = show_thumbprint(read_regular(ca_path(folder)))
        is_left = adoption_path(config).exists()
    except PermissionError:
        return
    except ConfigError as error:
        yield fault("page", error)
        return
    except (OSError, ValueError) as error:
        yield Inspected(Level.FAULT, "page", f"its certificate cannot be read: {error}", _RENEW)
        return
    if is_left:
        yield Inspected(
            Level.WARNING, "page", "what was signed at the desk is not in its file", "sudo edge-agent adopt"
        )
    here = find_home_addresses()
    gone = [each for each in settings.addresses if each not in here and not each.startswith("127.")]
    if gone:
        yield Inspected(Level.WARNING, "page", f"this machine no longer has {', '.join(gone)}", _RENEW)
    left_ns = int(chain[0].not_valid_after_utc.timestamp()) * SECOND_NS - now
    if left_ns < WARN_NS:
        yield Inspected(Level.WARNING, "page", f"its certificate ends in {max(0, left_ns // DAY_NS)} days", _RENEW)
    yield Inspected(Level.OK, "page", f"on, {settings.urls[0]}; authority SHA-256 {thumbprint}")
