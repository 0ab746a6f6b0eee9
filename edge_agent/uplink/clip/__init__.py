"""From records to MP4, in a child process that holds no key."""
