"""Cameras in, GOPs out: discovery, ONVIF, RTSP, timeline, triggers. Knows nothing of rings, keys or requests."""
