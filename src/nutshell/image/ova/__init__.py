"""Open Virtualization Format: whole machines as one file, in and out (DMTF DSP0243, "OVF Specification" 2.1)."""
