"""Measure the backbone of a checkpoint on images, detection, segmentation and video, and compare: one table."""
import sys

from mmdssl.cli.benchmark import main

if __name__ == '__main__':
    sys.exit(main())
