"""The recorder's parts: it joins cameras to rings. Holds no key that opens footage."""
