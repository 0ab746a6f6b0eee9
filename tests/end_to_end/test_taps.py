"""From the installed wheel to a delivered clip by three typed commands and a phone: what `scripts/taps` prints."""

import shutil

import pytest

from tests.support.finger import MOST_TAPS, MOST_TYPED
from tests.support.taps import run


@pytest.mark.peer
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Debian's chromium")
def test_a_resident_gets_from_the_wheel_to_a_delivered_clip():
    """No call into the page: a terminal, an editor, a browser and the messages on a phone."""
    typed, taps = run()
    assert typed <= MOST_TYPED
    assert taps <= MOST_TAPS
