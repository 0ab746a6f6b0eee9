"""Setting a gateway up and looking it over: the work of ``init``, ``enrol``, ``check`` and ``erase --everything``."""
