"""Links from notices to the resident's page: its addresses, as ``edge-agent page on`` left them for all to read.

Read anew for each notice: the page is turned on and off without the releaser.
"""

import json
from pathlib import Path

from edge_agent.host.regular_file import read_regular
from edge_agent.printable_text import show_line
from edge_agent.texts import ENGLISH, Texts

FILE = "page-address.json"
MAX_LINKS = 2


class PageLinks:
    """Lines for notices.

    Args:
        state_dir: Where root leaves the file; None: there is no page.
        texts: The owner's language.
    """

    def __init__(self, state_dir: Path | None, texts: Texts = ENGLISH) -> None:
        self._path = None if state_dir is None else state_dir / FILE
        self._texts = texts

    def lines(self, number: int) -> list[str]:
        """Return the lines that lead to a request's page; none if the page is off."""
        if self._path is None:
            return []
        try:
            found = json.loads(read_regular(self._path))["urls"]
            urls = [show_line(str(each), 200) for each in found if str(each).startswith("https://")]
        except (OSError, ValueError, KeyError, TypeError):
            # A notice without a link is better than none.
            return []
        texts = self._texts
        links = [f"{each}requests/{number}" for each in urls[:MAX_LINKS]]
        return [texts("Your page, at home or by VPN: {links}", links=" ".join(links))] if links else []
