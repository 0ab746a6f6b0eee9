"""The ring: encrypted records in one preallocated file per camera stream. Knows nothing of cameras or media."""
