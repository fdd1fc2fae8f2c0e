"""The object store: Swift's API over one engine that other protocols share."""
