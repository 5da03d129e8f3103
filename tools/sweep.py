"""Evaluate many checkpoints by many configs, on this machine or on Slurm: one table."""
import sys

from mmdssl.cli.sweep import main

if __name__ == '__main__':
    sys.exit(main())
