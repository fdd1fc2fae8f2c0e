"""The HTTP/1.1 server under every application of the cloud (RFC 9112; ASGI specification 3.0)."""
