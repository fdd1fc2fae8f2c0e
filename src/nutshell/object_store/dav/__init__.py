"""Containers as a network drive: WebDAV at /dav, over the same filters as the Swift API."""
