"""One camera's clips and their evidence, encrypted to the RTCC or the owner."""
