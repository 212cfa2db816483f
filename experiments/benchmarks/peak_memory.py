"""The most memory that this process ever held."""

import resource


def peak_bytes() -> int:
  """The peak resident set of this process, in bytes."""
  try:
    # getrusage would count what the parent held when it started this process.
    with open("/proc/self/status") as file:
      line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
  except OSError:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
