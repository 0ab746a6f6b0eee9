"""Setting a gateway up and looking it over: what ``init``, ``enrol``, ``check`` and ``erase --everything`` do."""
