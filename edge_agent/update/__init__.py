"""Updates: signed metadata over any static web server, the package by its digest, and the way back.

Run by ``edge-agent update`` as root and never by the two processes. Only ``repository`` knows The Update Framework.
"""
