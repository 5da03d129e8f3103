"""Score predicted masks of DAVIS-2017: python tools/eval_davis.py PREDICTIONS data/davis"""
import sys

from mmdssl.cli.eval_davis import main

if __name__ == '__main__':
    sys.exit(main())
