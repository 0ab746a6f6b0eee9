"""The demonstration's PostgreSQL, for tests: left out on a machine that has none."""

import os

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
