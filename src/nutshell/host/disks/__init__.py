"""Drives in files on this machine."""
