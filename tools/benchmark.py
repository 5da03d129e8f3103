"""Measure the backbone of a checkpoint on detection, segmentation and video, and compare: one table."""
import signal
import sys

from mmdssl.cli.benchmark import main

if __name__ == '__main__':
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the running job is ended too
    sys.exit(main())
