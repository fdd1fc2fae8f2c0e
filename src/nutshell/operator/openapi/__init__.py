"""OpenAPI documents of every service, made from its declarations (https://spec.openapis.org/oas/v3.1.0)."""
