"""One MQTT 5 connection over mutual TLS, for both ends of the protocol."""
