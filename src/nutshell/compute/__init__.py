"""Compute: virtual machines (OpenStack Nova's API)."""
