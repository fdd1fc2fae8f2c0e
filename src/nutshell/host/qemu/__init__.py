"""Real virtual machines: QEMU over QMP. `driver.py` is the door; the rest is one part each."""
