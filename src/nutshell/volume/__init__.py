"""Volume: drives for servers (OpenStack Cinder's API)."""
