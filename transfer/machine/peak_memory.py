"""How much memory a process had when it had most."""

import sys
from pathlib import Path

import psutil


def peak_memory(process: psutil.Process) -> int:
    """Bytes that a process had in memory when it had most.

    Args:
        process: Of this user; on macOS and the like this one, for others are not told there.

    Raises:
        OSError: If it has ended.
    """
    if sys.platform == "win32":
        return process.memory_info().peak_wset
    status = Path(f"/proc/{process.pid}/status")
    if Path("/proc/self/status").exists():
        # Not getrusage or wait4: there a new process begins with what its parent had.
        text = status.read_text(encoding="utf-8")
        found = [line for line in text.splitlines() if line.startswith("VmHWM:")]
        if not found:
            raise ProcessLookupError(f"process {process.pid} has ended")
        return 1024 * int(found[0].split()[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
