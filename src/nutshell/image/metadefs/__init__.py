"""Metadata definitions: what properties mean, for those who set them (Image API v2, "Metadata definitions")."""
