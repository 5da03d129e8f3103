"""Evaluate: a detector or segmentor from its checkpoint, or, by a config that trains nothing (configs/video), a backbone from anywhere."""
import sys

from mmdssl.cli.test import main

if __name__ == '__main__':
    sys.exit(main())
