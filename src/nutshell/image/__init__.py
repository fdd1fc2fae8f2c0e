"""Image: what servers boot from (OpenStack Glance's API)."""
