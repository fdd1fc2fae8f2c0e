"""For those who test against a cloud: a client with no dependency."""
