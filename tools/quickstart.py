"""The main job on an embedded default: render the sample world, pretrain PQCL on it, show what was learned."""
import sys

from mmdssl.cli.quickstart import main

if __name__ == '__main__':
    sys.exit(main())
