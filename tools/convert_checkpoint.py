"""Write the backbone of any checkpoint in the form of timm, Hugging Face or mmdssl."""
import sys

from mmdssl.cli.convert import main

if __name__ == '__main__':
    sys.exit(main())
