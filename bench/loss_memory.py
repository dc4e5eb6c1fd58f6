"""Peak memory of one loss, forth and back, beyond its inputs: ours by blocks, and the peers'.

Each line is a process of its own: it makes the embeddings, takes a small batch's loss so that all
is loaded, and then that of the batch. The memory is the kernel's high-water mark of the process
(getrusage) less what it held before; the CPU seconds, of all threads, are the median of five calls,
or those of one where the batch is large. Embeddings have 64 numbers in float32, on a CPU.

    python bench/loss_memory.py        all lines, written to bench/results/loss_memory.md
"""

import json
import math
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, cast

import torch
from torch import Tensor, nn

RESULT = Path(__file__).parent / "results" / "loss_memory.md"
DIM, ORDINARY, SMALL, LARGE = 64, 1024, 8192, 65536
LIMIT_MB = 1000
Loss = Callable[[Tensor, Tensor], Tensor]


def ours_ranking() -> Loss:
    """Our MultipleNegativesRankingLoss."""
    from embedtune_trainer.objectives.ranking import MultipleNegativesRankingLoss

    loss = MultipleNegativesRankingLoss()
    return lambda left, right: loss(left, right).loss


def ours_clip() -> Loss:
    """Our CLIPLoss."""
    from embedtune_trainer.objectives.ranking import CLIPLoss

    loss, log_scale = CLIPLoss(), nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    return lambda left, right: loss(left, right, log_scale).loss


def ours_siglip() -> Loss:
    """Our SigLIPLoss."""
    from embedtune_trainer.objectives.siglip import SigLIPLoss

    loss = SigLIPLoss()
    log_scale, bias = nn.Parameter(torch.tensor(math.log(10))), nn.Parameter(torch.tensor(-10.0))
    return lambda left, right: loss(left, right, log_scale, bias).loss


def sentence_transformers_ranking() -> Loss:
    """sentence-transformers' loss of that name."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    loss: Any = MultipleNegativesRankingLoss(cast(Any, nn.Identity()))
    return lambda left, right: loss.compute_loss_from_embeddings([left, right], None)


def open_clip_clip() -> Loss:
    """open_clip's ClipLoss, which takes embeddings of length 1."""
    from open_clip.loss import ClipLoss

    loss, log_scale = ClipLoss(), nn.Parameter(torch.tensor(math.log(1 / 0.07)))
    unit = nn.functional.normalize
    return lambda left, right: loss(unit(right), unit(left), log_scale.exp())


def open_clip_siglip() -> Loss:
    """open_clip's SigLipLoss, which takes embeddings of length 1."""
    from open_clip.loss import SigLipLoss

    loss = SigLipLoss()
    log_scale, bias = nn.Parameter(torch.tensor(math.log(10))), nn.Parameter(torch.tensor(-10.0))
    unit = nn.functional.normalize
    return lambda left, right: loss(unit(right), unit(left), log_scale.exp(), bias)


LINES: tuple[tuple[str, str, Callable[[], Loss], int], ...] = (
    ("MultipleNegativesRanking", "sentence-transformers", sentence_transformers_ranking, ORDINARY),
    ("MultipleNegativesRanking", "embedtune", ours_ranking, ORDINARY),
    ("MultipleNegativesRanking", "sentence-transformers", sentence_transformers_ranking, SMALL),
    ("MultipleNegativesRanking", "embedtune", ours_ranking, SMALL),
    ("MultipleNegativesRanking", "embedtune", ours_ranking, LARGE),
    ("CLIP", "open_clip", open_clip_clip, ORDINARY),
    ("CLIP", "embedtune", ours_clip, ORDINARY),
    ("CLIP", "open_clip", open_clip_clip, SMALL),
    ("CLIP", "embedtune", ours_clip, SMALL),
    ("CLIP", "embedtune", ours_clip, LARGE),
    ("SigLIP", "open_clip", open_clip_siglip, ORDINARY),
    ("SigLIP", "embedtune", ours_siglip, ORDINARY),
    ("SigLIP", "open_clip", open_clip_siglip, SMALL),
    ("SigLIP", "embedtune", ours_siglip, SMALL),
    ("SigLIP", "embedtune", ours_siglip, LARGE),
)


def measure(number: int) -> dict[str, float]:
    """One line, in this process."""
    _, _, make, batch = LINES[number]
    loss = make()
    torch.manual_seed(0)
    left = torch.randn(batch, DIM)
    right = (left + torch.randn(batch, DIM)).requires_grad_()
    left.requires_grad_()
    loss(left[:64], right[:64]).backward()
    left.grad, right.grad = torch.zeros_like(left), torch.zeros_like(right)
    before_mb = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    seconds = []
    for _ in range(1 if batch == LARGE else 5):
        begun = time.process_time()
        value = loss(left, right)
        value.backward()
        seconds.append(time.process_time() - begun)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"value": value.item(), "mb": peak_mb - before_mb, "seconds": median(seconds)}


def main() -> int:
    """All lines, each in a process; 1 if one of ours is above the limit or differs from a peer."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]))))
        return 0
    lines, wrong = [], []
    value_of: dict[tuple[str, int], float] = {}
    for number, (name, system, _, batch) in enumerate(LINES):
        told = subprocess.run(
            [sys.executable, __file__, str(number)], check=True, capture_output=True, text=True
        )
        found = json.loads(told.stdout)
        lines.append(
            f"| {name} | {system} | {batch:,} | {found['value']:.5f} | {found['mb']:,.0f} |"
            f" {found['seconds']:.3f} |"
        )
        sys.stderr.write(lines[-1] + "\n")
        if system == "embedtune" and found["mb"] >= LIMIT_MB:
            wrong.append(f"{name} at {batch:,}: {found['mb']:,.0f} MB")
        value = value_of.setdefault((name, batch), found["value"])
        if abs(value - found["value"]) > 1e-4 * abs(value):
            wrong.append(f"{name} at {batch:,}: {found['value']} where the peer has {value}")
    RESULT.write_text(
        f"# Memory of a loss beyond its inputs\n\n`python bench/loss_memory.py`, {DIM} numbers an"
        f" embedding, float32, {platform.machine()} with {torch.get_num_threads()} threads, torch"
        f" {torch.__version__}.\nThe goal is under {LIMIT_MB:,} MB at {LARGE:,} pairs; the square"
        f" of these alone is {LARGE**2 * 4 / 1e6:,.0f} MB.\n\n"
        "| loss | system | pairs | loss's value | peak MB | CPU seconds |\n"
        "|---|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )
    sys.stderr.write("\n".join(wrong) + "\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
