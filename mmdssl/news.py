"""Signs of life of what takes long."""
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

SECONDS = 20.  # from one line to the next


def with_news(items: Iterable, total: int, what: str, tell: Callable[[str], None]) -> Iterator:
    """The items, and every 20 seconds a line for ``tell`` on how far they are: ``Rendering world: 40 %, 30 s left``.

    What is left follows from the time since the first item, before which workers start, and is said when that is long enough.
    """
    last = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if number == 1:
            first = now
        if now - last >= SECONDS and number < total:
            last = now
            left = f', {(now - first) / (number - 1) * (total - number):.0f} s left' if number > 1 and now - first >= SECONDS else ''
            tell(f'{what}: {100 * number // total} %{left}')


def with_bar(items: Iterable, total: int, what: str) -> Iterator:
    """The items, and meanwhile a progress bar on a terminal; elsewhere a line at once, and then one every 20 seconds."""
    if sys.stdout.isatty():
        from rich.progress import track
        return track(items, what, total)
    tell = partial(print, flush=True)
    tell(f'{what} ...')
    return with_news(items, total, what, tell)
