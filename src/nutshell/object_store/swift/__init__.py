"""The Swift API: accounts, containers and objects over HTTP (Object Storage API v1)."""
