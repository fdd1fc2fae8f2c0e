"""The operator's own API, `/nutshell/v1`: what a cloud can be asked beyond OpenStack."""
