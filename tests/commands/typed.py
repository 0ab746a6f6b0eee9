"""A command as it is typed, without the mapping of errors to exit codes."""

from edge_agent.cli import build_parser


def run(*words: str) -> int:
    """Parse and carry out one command; its errors come through."""
    args = build_parser(words).parse_args(words)
    return int(args.run(args))
