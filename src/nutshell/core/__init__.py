"""The ground floor: everything a service declares itself with. Knows no service by name."""
