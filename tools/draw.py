"""Draw what a network sees and has learned."""
import sys

from mmdssl.cli.draw import main

if __name__ == '__main__':
    sys.exit(main())
