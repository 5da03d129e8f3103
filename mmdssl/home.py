"""Where the configs and tools that come with the package are, and what one types to call a command: in a checkout or installed."""
from __future__ import annotations

import shlex
import sys
from pathlib import Path

HOME = Path(__file__).parent / '.mim'  # where MMEngine and MIM look; in a checkout its entries are links
CONSOLE = 'mmdssl '


def find_config(path: str) -> Path | None:
    """The config at a path, else the one of that name that comes with the package: ``configs/small/dino.py``, ``mmdssl::small/dino.py``."""
    if Path(path).is_file():
        return Path(path)
    shipped = HOME / 'configs' / path.removeprefix('mmdssl::').removeprefix('configs/')
    return shipped.resolve() if shipped.is_file() else None


def find_tool(name: str) -> Path:
    return (HOME / 'tools' / name).resolve()


def command(name: str, *arguments: object, processes: int = 1) -> str:
    """What one types to run ``tools/NAME.py``, on one process or several."""
    words = ['python', f'tools/{name}.py', *arguments] if processes == 1 else ['bash', f'tools/dist_{name}.sh', *arguments, processes]
    if not (HOME / 'tools').is_symlink():
        front = [] if processes == 1 else ['torchrun', '--nproc_per_node', processes, '-m']
        words = [*front, 'mmdssl', name.replace('_', '-'), *arguments]
    return shlex.join(map(str, words))


def started(by_torchrun: int = 0) -> list[str]:
    """The words that started this process, before its arguments; with torchrun, in front of so many processes."""
    front = ['torchrun', '--nproc_per_node', str(by_torchrun)] if by_torchrun else []
    if sys.argv[0].startswith(CONSOLE):
        return [*front, *(['-m'] if front else []), *sys.argv[0].split()]
    return [*(front or ['python']), sys.argv[0]]
