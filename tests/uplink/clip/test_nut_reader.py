"""What is no NUT file. What is one: ``tests/media/test_nut_writer.py``, through this reader."""

import pytest

from edge_agent.errors import IntegrityError
from edge_agent.uplink.clip.nut_reader import read_nut

BROKEN = {"empty": b"", "no NUT": b"nothing of the kind" * 9, "magic alone": b"nut/multimedia container\x00"}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_read_refuses_what_is_no_nut(data: bytes) -> None:
    """Bytes that are no NUT file end in an integrity error that shows none of them."""
    with pytest.raises(IntegrityError, match="not a NUT file"):
        read_nut(data)
