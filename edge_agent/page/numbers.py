"""A number in an address of the page or the desk, such as a request's: of more digits int() itself is an error."""

from starlette.convertors import Convertor, register_url_convertor


class _Numbers(Convertor[int]):
    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


def allow_numbers() -> None:
    """Let routes name a ``{…:request}``; again does nothing more."""
    register_url_convertor("request", _Numbers())
