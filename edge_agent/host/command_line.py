"""The two command lines' common part: a parser over command modules, and the way from an error to words and a code.

Imports the module of the command that was typed and no other, so that the recorder stays small and the help is quick.
"""

import argparse
import importlib
import logging
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from edge_agent import __version__
from edge_agent.errors import EdgeAgentError, UsageError
from edge_agent.host.hardening import hide_memory
from edge_agent.host.journal import JournalHandler, is_journal

_COLUMN = re.compile(r" +\S.*? {2,}(?=\S)| +", re.ASCII)
"""Up to the second column of an example, or its blanks in front."""
_ID = re.compile(r"-[A-Za-z0-9_-]{21}|-[A-Za-z0-9_-]{42}")
"""A random id or a thumbprint (base64url of 16 or 32 bytes): one in 64 begins with a hyphen."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its line in the help, and its module."""

    help: str
    module: str = ""
    """In the package of the commands; the command's own name where empty."""
    adds: str = "add_arguments"
    """The module's function that adds its arguments to a parser, and sets ``run``."""


class _Fitted(argparse.RawDescriptionHelpFormatter):
    """Fits descriptions into the terminal's width, or 80 columns: prose is filled, examples keep their lines."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:  # noqa: ARG002 (none is ever given)
        return "\n".join(_fit(text, width))


def _fit(text: str, width: int) -> Iterator[str]:
    for is_prose, group in groupby(text.strip("\n").split("\n"), lambda line: bool(line) and not line.startswith(" ")):
        if is_prose:
            yield from textwrap.wrap(" ".join(group), width, break_on_hyphens=False)
            continue
        for line in group:
            column = _COLUMN.match(line)
            hang = len(column[0]) if column and len(column[0]) <= width * 2 // 3 else 6
            wrapped = textwrap.wrap(line, width, subsequent_indent=" " * hang, break_on_hyphens=False)
            yield from wrapped or [""]


class Parser(argparse.ArgumentParser):
    """A parser that takes an id for an id, although it begins as an option does.

    Its help fits a terminal's width, in its colours; plain into a pipe or if ``NO_COLOR`` is set.
    """

    def __init__(self, *args: Any, **words: Any) -> None:
        super().__init__(*args, **{"formatter_class": _Fitted, **words})

    def print_help(self, file: Any = None) -> None:
        """Print the help; the library that lays it out is loaded here, and by no process."""
        if file is None and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
            from rich_argparse import RawDescriptionRichHelpFormatter

            class Formatter(_Fitted, RawDescriptionRichHelpFormatter):
                text_markup = help_markup = False
                group_name_formatter = str

            self.formatter_class = Formatter
        super().print_help(file)

    def _parse_optional(self, arg_string: str) -> Any:
        if _ID.fullmatch(arg_string) and arg_string not in self._option_string_actions:
            return None
        return super()._parse_optional(arg_string)


def build_parser(
    prog: str,
    package: str,
    commands: Mapping[str, Command],
    words: Sequence[str] | None,
    *,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Return the parser of a command line.

    Args:
        prog: The program's name.
        package: Of its commands' modules.
        commands: By name, in the order of the help.
        words: The typed words: the arguments of that command are known. None: those of all commands.
        description: The program's purpose.
        epilog: The first steps.
    """
    parser = Parser(prog=prog, description=description, epilog=epilog)
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    typed = None if words is None else next((word for word in words if not word.startswith("-")), "")
    for name, command in commands.items():
        each = subparsers.add_parser(
            name,
            help=command.help,
            description=command.help,
        )
        if typed in (None, name):
            getattr(importlib.import_module(f"{package}.{command.module or name}"), command.adds)(each)
    return parser


def run(parser: argparse.ArgumentParser, words: Sequence[str], *, log_level: str) -> int:
    """Run one command; return its exit code (``sysexits.h`` for errors)."""
    if not words:
        parser.print_help()
        return os.EX_OK
    hide_memory()
    args = parser.parse_args(words)
    _begin_log(os.environ.get("EDGE_AGENT_LOG", log_level).upper())
    try:
        return int(args.run(args))
    except EdgeAgentError as error:
        print_error(parser.prog, error)
        return error.exit_code
    except EOFError:  # at any prompt: standard input has ended, or there is no terminal
        print(file=sys.stderr)
        print_error(
            parser.prog, UsageError("nobody answers: the input has ended", "nothing was done since the question")
        )
        return UsageError.exit_code
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK
    except OSError as error:  # a file or a disk that a command could not use, and no fault of this program
        logging.getLogger(__name__).debug("command failed", exc_info=True)
        where = f"{error.filename}: " if error.filename is not None else ""
        print_error(parser.prog, EdgeAgentError(f"{where}{error.strerror or error}"))
        return os.EX_IOERR


def _begin_log(level: str) -> None:
    """Log to the journal, which writes the time and the priority itself, or to stderr with both in the text."""
    if is_journal(os.environ, sys.stderr):
        logging.basicConfig(level=level, format="%(message)s", handlers=[JournalHandler()])
    else:
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("apscheduler").setLevel(logging.WARNING)


def print_error(prog: str, error: EdgeAgentError) -> None:
    """Print a command's error, and its hint if it has one, to stderr; at a terminal no line is wider than it."""
    for label, text in (("error", str(error)), ("hint", error.hint)):
        for line in f"{prog}: {label}: {text}".split("\n") if text else ():
            print("\n".join(_wrap(line)) if sys.stderr.isatty() else line, file=sys.stderr)


def _wrap(line: str) -> list[str]:
    width = shutil.get_terminal_size().columns
    return textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
