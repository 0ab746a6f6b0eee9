"""The recorder's parts: what joins cameras to rings. Holds no key that opens footage."""
