"""Placement: where things fit (OpenStack Placement's API)."""
