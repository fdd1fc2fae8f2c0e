"""Nutshell: OpenStack, complete and real, from one package on one port."""

__version__ = "0.1.0"
