"""The desk: what loosens or shows footage, for the owner in a browser at home. A process of its own, without a key."""
