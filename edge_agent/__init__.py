"""Edge agent: a local encrypted ring of camera footage, released only with three keys."""

__version__ = "0.1.0"
