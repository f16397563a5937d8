"""What is worth measuring on an accelerator only; no test needs one."""
