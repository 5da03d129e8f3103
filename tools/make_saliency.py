"""Make the saliency masks of images that DiLo puts on other backgrounds: python tools/make_saliency.py data/imagenet/train"""
import sys

from mmdssl.cli.make_saliency import main

if __name__ == '__main__':
    sys.exit(main())
