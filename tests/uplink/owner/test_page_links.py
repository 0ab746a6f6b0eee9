"""Links from notices to the resident's page."""

import json

import pytest

from edge_agent.uplink.owner.page_links import FILE, PageLinks


def test_notice_leads_to_the_request(tmp_path):
    """By address and by name, and it says where that works; nothing while the page is off."""
    links = PageLinks(tmp_path)
    assert links.lines(12) == []
    urls = ["https://192.168.1.5:8443/", "https://edge-agent-1.local:8443/"]
    (tmp_path / FILE).write_text(json.dumps({"urls": urls}))
    (line,) = links.lines(12)
    assert line == f"Your page, at home or by VPN: {urls[0]}requests/12 {urls[1]}requests/12"


@pytest.mark.parametrize("content", ["", "[]", '{"urls": 1}', '{"urls": ["http://x/"]}', '{"urls": []}'])
def test_file_that_is_wrong_costs_the_link_and_no_notice(tmp_path, content):
    """A notice goes out whatever lies there."""
    (tmp_path / FILE).write_text(content)
    assert PageLinks(tmp_path).lines(12) == []
