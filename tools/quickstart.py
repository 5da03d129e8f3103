"""Render the sample world, pretrain PQCL on it, show what was learned: in minutes, without data of one's own."""
import sys

from mmdssl.cli.quickstart import main

if __name__ == '__main__':
    sys.exit(main())
