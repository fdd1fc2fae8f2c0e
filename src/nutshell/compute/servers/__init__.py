"""Servers: one file per family of operations; `noun.py` is the row, `plan.py` and `steps.py` make the world so."""
