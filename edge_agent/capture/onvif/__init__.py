"""Cameras asked by ONVIF: found, described, and their events listened to. SOAP runs in child processes."""
