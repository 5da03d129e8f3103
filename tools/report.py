"""Write a page, and Markdown, of what one or several runs trained and what came out."""
import sys

from mmdssl.cli.report import main

if __name__ == '__main__':
    sys.exit(main())
