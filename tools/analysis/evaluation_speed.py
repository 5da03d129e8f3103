"""How fast labels of a video are carried on, against the released formulation, and how long k-NN on ImageNet takes.

    python tools/analysis/evaluation_speed.py [--patches 16 8] [--frames 9] [--rounds 3] [--share 0.1] [--out FILE]

Labels are carried through features of noise that moves, on the grid that DAVIS' frames of 480 x 854 have. The released formulation (DINO,
https://arxiv.org/abs/2104.14294, after CRW) is written out here: similarities of all tokens with all tokens of the context, those outside
the window set to zero, of the rest the k best. Both run turn by turn on the same features; seconds are those of this process on its
processors (on a GPU those of the clock), for a frame of the video; its context are the first and the 7 before, as far as there are so
many. What is made once for a video, our tiles and the window, is told by itself.

k-NN is run as a run does it, on a bank that is a file in memory, with --share of the queries, and extrapolated: its time is that of the
products, which are as many as queries times bank. Of memory there is what the process has itself, without the file.
"""
from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.device import get_device
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize, one_hot

from mmdssl.protocols.knn import knn_classify, nearest
from mmdssl.protocols.propagation import _tiles, propagate
from mmdssl.results.records import append_record

HEIGHT, WIDTH, DIM, OBJECTS = 480, 854, 384, 4
CONTEXT, RADIUS, TOP_K, TEMPERATURE = 7, 12, 5, 0.1
BARS = {16: 0.5, 8: 0.25}
BANK, QUERIES, CLASSES = 1_281_167, 50_000, 1000
NEIGHBOURS = 20


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--patches', type=int, nargs='*', default=[*BARS], help='sizes; none leaves the propagation out')
    parser.add_argument('--frames', type=int, default=CONTEXT + 2, help='of the video')
    parser.add_argument('--rounds', type=int, default=3, help='of both, of which the median counts')
    parser.add_argument('--bank', type=int, default=BANK, help='0 leaves k-NN out')
    parser.add_argument('--queries', type=int, default=QUERIES)
    parser.add_argument('--share', type=float, default=0.1, help='of the queries that are run')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/evaluation_speed.jsonl'), help='file of records')
    args = parser.parse_args(argv)
    if args.frames < 2:
        parser.error('--frames must be at least 2')
    torch.set_num_threads(args.threads)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for found in alternately(args):
        show(found)
        append_record(args.out, task='propagation speed', frames=args.frames, rounds=args.rounds, threads=args.threads, **found)
    if args.bank:
        found = knn(args.bank, args.queries, args.share)
        print(f'k-NN of {args.bank:,} by {args.queries:,}: {found["seconds"]:.1f} s for {found["run"]:,} queries, '
              f'{found["whole_seconds"] / 60:.1f} minutes for all; {found["own_mib"]:.0f} MiB beyond a bank of {found["bank_mib"]:.0f}; '
              f'{found["same"]} of {found["compared"]} have the neighbours of brute force in float64')
        append_record(args.out, task='k-NN speed', bank=args.bank, queries=args.queries, threads=args.threads, **found)
    return 0


def show(found: dict) -> None:
    bar = found['bar']
    met = '' if bar is None else f'; bar {bar:.2f} {"met" if found["ratio"] < bar else "missed"}'
    print(f'patch {found["patch"]}, {found["tokens"]} tokens: ours {found["ours_ms"]:.0f} ms a frame, '
          f'released {found["released_ms"]:.0f} ms, ratio {found["ratio"]:.3f} ({found["lowest"]:.3f} to {found["highest"]:.3f}{met}); '
          f'once {found["ours_once_ms"]:.0f} and {found["released_once_ms"]:.0f} ms; labels are up to '
          f'{found["difference"]:.1e} apart, others in {found["other_labels"]:.2%} of the tokens', flush=True)


def alternately(args: argparse.Namespace) -> list[dict]:
    """A record for each patch size, measured round by round, size by size."""
    device, spent = torch.device(get_device()), {patch: [] for patch in args.patches}
    videos = {patch: video(HEIGHT // patch, WIDTH // patch, args.frames, device) for patch in args.patches}
    for _ in range(args.rounds):
        for patch, (features, first) in videos.items():
            spent[patch].append(round_of(features, first))
    found = []
    for patch, rounds in spent.items():
        median = {name: 1000 * statistics.median(one[name] for one in rounds) for name in rounds[0] if name.endswith('_s')}
        ratios = [one['ours_s'] / one['released_s'] for one in rounds]
        found.append(dict(
            patch=patch, tokens=videos[patch][1].numel(), bar=BARS.get(patch),
            ratio=statistics.median(ratios), lowest=min(ratios), highest=max(ratios), difference=rounds[0]['difference'],
            other_labels=rounds[0]['other_labels'], **{f'{name[:-2]}_ms': value for name, value in median.items()}))
    return found


def video(height: int, width: int, frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Features ``(T, D, h, w)`` of something smooth that moves, and ids of the first frame's tokens."""
    generator = torch.Generator().manual_seed(0)
    world = torch.randn(1, DIM, height + frames + 4, width + frames + 4, generator=generator)
    world = avg_pool2d(world, 5, 1)[0] + 0.05 * world[0, :, 2:-2, 2:-2]
    features = torch.stack([world[:, t:t + height, t:t + width] for t in range(frames)])
    features += 0.05 * torch.randn(features.shape, generator=generator)
    rows, columns = torch.arange(height)[:, None] * 2 // height, torch.arange(width) * (OBJECTS + 1) // (2 * width) * 2
    return normalize(features, dim=1).to(device), (rows + columns).clamp(max=OBJECTS).to(device)


def round_of(features: Tensor, first: Tensor) -> dict[str, float]:
    """Seconds of a frame and of what is made once, by both, and how far the labels of the last frame are apart."""
    once, window = seconds(released_window, *first.shape, features.device)
    ours_once, _ = seconds(_tiles, *first.shape, RADIUS, 'square', False, features.device)
    ours_s, ours = seconds(propagate, features, first, CONTEXT, RADIUS, TOP_K, TEMPERATURE)
    released_s, released = seconds(released_video, features, first, window)
    apart = (ours[-1] - released[-1]).abs()
    return dict(ours_s=(ours_s - ours_once) / (len(features) - 1), released_s=released_s / (len(features) - 1), ours_once_s=ours_once,
                released_once_s=once, difference=apart.max().item(),
                other_labels=(ours[-1].argmax(0) != released[-1].argmax(0)).float().mean().item())


def released_video(features: Tensor, first: Tensor, window: Tensor) -> Tensor:
    """Labels ``(T, C, h, w)``, from ids ``(h, w)`` of the first frame."""
    labels = [one_hot(first).permute(2, 0, 1).to(features)]
    for t in range(1, len(features)):
        context = [0, *range(max(1, t - CONTEXT), t)]
        labels.append(released_frame(features[t], features[context], torch.stack([labels[s] for s in context]), window))
    return torch.stack(labels)


def released_window(height: int, width: int, device: torch.device) -> Tensor:
    """Which tokens ``(h * w, h * w)`` are within the radius of which, as numbers."""
    index = torch.arange(height * width, device=device)
    rows, columns = index // width, index % width
    near = ((rows[:, None] - rows).abs() <= RADIUS) & ((columns[:, None] - columns).abs() <= RADIUS)
    return near.float()


def released_frame(target: Tensor, sources: Tensor, labels: Tensor, window: Tensor) -> Tensor:
    """Labels ``(C, h, w)`` of a frame's features ``(D, h, w)``, from those ``(n, C, h, w)`` of the context's ``(n, D, h, w)``."""
    number, tokens = len(sources), window.shape[0]
    similar = torch.exp(torch.bmm(sources.flatten(2).transpose(1, 2), target.flatten(1).expand(number, -1, -1)) / TEMPERATURE)
    similar = (similar * window).reshape(number * tokens, tokens)  # (those of the context, those of the frame)
    lowest = similar.topk(TOP_K, dim=0).values[-1]
    similar[similar < lowest] = 0
    similar /= similar.sum(0, keepdim=True)
    return (labels.flatten(2).transpose(0, 1).flatten(1) @ similar).view(-1, *target.shape[1:])


def seconds(function: Callable, *inputs) -> tuple[float, object]:
    cuda = torch.cuda.is_available()
    now = time.perf_counter if cuda else time.process_time
    if cuda:
        torch.cuda.synchronize()
    start = now()
    result = function(*inputs)
    if cuda:
        torch.cuda.synchronize()
    return now() - start, result


class Memory(threading.Thread):
    """The most MiB that this process has by itself, while it is watched, beyond what it had."""

    def __init__(self):
        super().__init__(daemon=True)
        self._ended, self._before = threading.Event(), self._now()
        self.most = 0.

    @staticmethod
    def _now() -> float:
        lines = Path('/proc/self/status').read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith('RssAnon')) / 1024

    def run(self) -> None:
        while not self._ended.wait(0.05):
            self.most = max(self.most, self._now() - self._before)

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self.join()


def knn(bank_size: int, queries: int, share: float) -> dict:
    """Seconds of so many queries, and of all of them."""
    device, run = get_device(), max(1, int(queries * share))
    generator = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        bank = torch.from_file(f'{folder}/bank', shared=True, size=bank_size * DIM).view(bank_size, DIM)
        for part in bank.split(1 << 14):
            part.normal_(generator=generator)
        labels = torch.arange(bank_size) % CLASSES
        asked = torch.randn(run, DIM, generator=generator).to(device)
        with Memory() as memory:
            spent, _ = seconds(knn_classify, bank, labels, asked, CLASSES, (NEIGHBOURS, ))
        few = asked[:8].cpu()
        found = nearest(bank, few.to(device), NEIGHBOURS)[1].cpu()
        cosines = torch.cat([normalize(few.double(), dim=1) @ normalize(part.double(), dim=1).T for part in bank.split(1 << 14)], 1)
        same = int((found.sort(1).values == cosines.topk(NEIGHBOURS).indices.sort(1).values).all(1).sum())
        size = bank.nbytes / 2**20
        del bank, part
    return dict(run=run, seconds=spent, whole_seconds=spent * queries / run, own_mib=memory.most, bank_mib=size, compared=len(few),
                same=same)


if __name__ == '__main__':
    sys.exit(main())
