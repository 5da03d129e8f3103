"""``python -m mmdssl``: the console command, as torchrun starts it."""
import sys

from mmdssl.cli import main

if __name__ == '__main__':
    sys.exit(main())
