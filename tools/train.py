"""Train a model from a config, on one process or many; with --dry-run, only say what that would be like."""
import sys

from mmdssl.cli.train import main

if __name__ == '__main__':
    sys.exit(main())
