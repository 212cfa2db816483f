"""`python -m visual_memory.cli`, where the command is not on the path."""

import sys

from visual_memory.cli.main import main

if __name__ == "__main__":
  sys.exit(main())
