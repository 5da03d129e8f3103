"""Render mmdssl's sample world: python tools/make_sample_world.py data/sample_world"""
import sys

from mmdssl.cli.make_sample_world import main

if __name__ == '__main__':
    sys.exit(main())
