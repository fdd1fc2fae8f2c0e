"""The S3 API on the object store's engine (Amazon S3 API Reference, version 2006-03-01)."""
