"""``rtcc state``: the database of a city."""

import argparse
from dataclasses import replace

from edge_agent.errors import ConfigError, UsageError
from edge_agent.rtcc.commands.folder import add_home, open_home
from edge_agent.rtcc.state import guards
from edge_agent.rtcc.state.copying import move_state
from edge_agent.rtcc.state.database import CityDatabase

_EPILOG = """\
examples:
  rtcc state create --url postgresql://office@db.example/rtcc --writer rtcc_writer
  rtcc state move --url postgresql://office@db.example/rtcc

create makes the tables, as their owner, and lets the role of readers, workers and receiver do everything but read or
change the audit. move copies all that lies in the home's state.sqlite3 there, in one transaction, and writes the URL
into rtcc.json. Passwords belong into ~/.pgpass (libpq's PGPASSFILE), not into a URL. Stop every other program of this
home before `move`: one that runs on writes nothing into the old file any more, and ends or waits until it is started
anew.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make the tables in an empty database")
    create.add_argument("--url", required=True, metavar="URL", help="postgresql://…, as the owner of the tables")
    create.add_argument("--writer", metavar="ROLE", help="an existing role that is to work with them")
    create.set_defaults(run=run_create)
    move = actions.add_parser("move", help="copy a home's state there, and use it from then on")
    add_home(move)
    move.add_argument("--url", required=True, metavar="URL", help="of a database that `create` has made")
    move.set_defaults(run=run_move)


def run_create(args: argparse.Namespace) -> int:
    """Make the tables."""
    database = CityDatabase(args.url)
    if not database.is_shared:
        raise UsageError("SQLite needs no such step: a home makes its own")
    database.create()
    if args.writer is not None:
        with database.begin() as connection:
            guards.grant_writer(connection, args.writer)
    print("the tables are there")
    return 0


def run_move(args: argparse.Namespace) -> int:
    """Copy the state of a home."""
    home = open_home(args)
    if home.settings.database:
        raise ConfigError("the home's state is at a database server already")
    target = CityDatabase(args.url)
    target.check()
    count = move_state(home.state.database, target)
    home.write_settings(replace(home.settings, database=args.url))
    print(f"moved: rows={count}; state.sqlite3 keeps its rows, and is used no more")
    return 0
