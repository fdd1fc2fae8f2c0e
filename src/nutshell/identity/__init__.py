"""Identity: who may do what (OpenStack Keystone's API)."""
