"""The closed list of the ledger's kinds of entries.

Every entry but the padding of ``table`` is of this list. docs/ledger.md, "Kinds", is printed from here:
``python -m edge_agent.ledger.kinds``.
"""

from dataclasses import fields

from edge_agent.ledger import gateway_kinds, owner_kinds, request_kinds
from edge_agent.ledger.entries import LedgerEntry

SHAPES: tuple[type[LedgerEntry], ...] = tuple(
    each
    for subject in (request_kinds, owner_kinds, gateway_kinds)
    for each in vars(subject).values()
    if isinstance(each, type) and issubclass(each, LedgerEntry) and hasattr(each, "kind")
)
"""Each kind of entry, or each of the forms that a kind has, in the order of the document."""


def main() -> None:
    """Print the table of docs/ledger.md, "Kinds"."""
    print("| kind | members | tells |\n|---|---|---|")
    for shape in SHAPES:
        members = ", ".join(f"`{each.name.rstrip('_')}`" for each in fields(shape))
        print(f"| `{shape.kind}` | {members} | {shape.__doc__} |")


if __name__ == "__main__":
    main()
