"""Network: networks in software (OpenStack Neutron's API)."""
