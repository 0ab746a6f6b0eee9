"""The two sockets of the home's browsers, whatever lies around them."""

import pytest

from edge_agent.host.control_socket import call
from edge_agent.settings.gateway import parse_config
from edge_agent.uplink.owner.home_sockets import HomeSockets
from edge_agent.uplink.owner.orders import OwnerOrders
from edge_agent.uplink.owner.page_reads import PageReads
from tests.support import gate
from tests.support.releaser import House

WRONG_FILES = {
    "empty": (b"", 0o640),
    "no JSON": (b"{", 0o640),
    "members missing": (b"{}", 0o640),
    "not UTF-8": (b"\xff", 0o640),
    "others can write it": (b"{}", 0o666),
}


def never(*_):
    raise AssertionError("nobody asked for this")


@pytest.mark.parametrize(("content", "mode"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_enrolment_file_leaves_the_home_its_stops(tmp_path, caplog, content, mode):
    """The page still pauses; no terms can be signed at the desk, and the log says why, once."""
    house = House(tmp_path)
    config = parse_config(
        "cameras: [{id: door, url: 'rtsp://127.0.0.1:1'}]\n"
        f"gateway: {{state_dir: {tmp_path / 'state'}, run_dir: {tmp_path / 'run'}}}\n",
        "edge-agent.yaml", tmp_path,
    )  # fmt: skip
    config.uplink.enrolment.write_bytes(content)
    config.uplink.enrolment.chmod(mode)
    commands = {**dict.fromkeys(("status", "ledger", "ledger-prove"), never), **house.desk.handlers}
    reads = PageReads(config, None, house.house_reader, lambda _: {}, house.clock)  # type: ignore[arg-type]
    home = HomeSockets(
        OwnerOrders("own-name", gate.OWNER.public_key(), house.store, house.clock),
        config,
        commands,
        reads,
        None,  # type: ignore[arg-type]
    )
    servers = home.open(house.stop)
    try:
        call(config.page_path("releaser"), "pause", by="phone", camera="door")
        assert house.entries("page") == [{"what": "pause", "camera": "door", "by": "page/phone"}]
        assert caplog.text.count("enrolment file cannot be used") == 1
    finally:
        house.stop.set()
        home.join()
        house.store.close()
    assert not any(each.is_alive() for each in servers), "it would remove the sockets of the next one"
