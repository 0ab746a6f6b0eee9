"""The demonstration's PostgreSQL, for tests: left out on a machine that has none."""

import os
from urllib.parse import urlsplit

import pytest

from edge_agent.demo.large_city import postgresql
from edge_agent.errors import UnavailableError


class PostgreSql(postgresql.PostgreSql):
    """A cluster; each ``make_database`` is empty and its own."""

    def __init__(self, *settings: str) -> None:
        try:
            super().__init__(*settings)
        except UnavailableError as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))

    def drop_database(self, url: str) -> None:
        """Remove a database: hundreds of them fill the machine's memory, and take minutes to remove at the end."""
        name = urlsplit(url).path.removeprefix("/")
        self._run("dropdb", "--force", "-h", str(self.folder), "-U", "office", name)
