"""One RTSP session: opened, read, and its failures explained."""
