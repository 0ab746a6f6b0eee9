"""The other end of the protocol: a reference client for the Real Time Crime Center. The product never imports it."""
