"""What the machine gives: processes, memory, remembered digests of its files."""
