"""The desk: acts that loosen or show footage, for the owner in a browser at home. A process without a key."""
