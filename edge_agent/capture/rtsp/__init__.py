"""Our own reader of RTSP over TCP: bytes in, access units out. All of it is pure but ``connection`` and ``session``."""
