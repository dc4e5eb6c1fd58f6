"""From the trainings of both systems to a table, and to whether ours is below the peer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import ttest_ind_from_stats

LEVEL = 0.05
"""How seldom two systems that are alike may be told apart."""
BELOW, ABOVE, ALIKE, UNDECIDED = "below", "above", "not below", "one seed tells nothing"


@dataclass(frozen=True)
class Found:
    """A finished training.

    Attributes:
        metrics: by name, 0 to 1; of all trainings of a data set the same names.
        steps: changes of the weights.
        seconds: that it took.
    """

    metrics: Mapping[str, float]
    steps: int
    seconds: float


def verdict(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """BELOW, ABOVE, ALIKE or UNDECIDED, of one metric in which more is better.

    Ours is below if its mean is, and by more than the spread of the seeds explains: by Welch's
    one-sided t-test at LEVEL, which takes neither the variances nor the counts to be equal. Where
    no seed of either differs from another, there is no spread, and the means decide. Above is the
    same the other way round.
    """
    apart = mean(ours) - mean(theirs)
    if not apart:
        return ALIKE
    if min(len(ours), len(theirs)) < 2:
        return UNDECIDED
    if max(ours) > min(ours) or max(theirs) > min(theirs):
        side = "less" if apart < 0 else "greater"
        facts = (fact for own in (ours, theirs) for fact in (mean(own), stdev(own), len(own)))
        if ttest_ind_from_stats(*facts, equal_var=False, alternative=side).pvalue >= LEVEL:
            return ALIKE
    return BELOW if apart < 0 else ABOVE


def verdicts(ours: Sequence[Found], theirs: Sequence[Found]) -> dict[str, str]:
    """Of each metric."""
    return {name: verdict(_values(ours, name), _values(theirs, name)) for name in ours[0].metrics}


def table(
    before: Mapping[str, float], ours: Sequence[Found], theirs: Sequence[Found], peer: str
) -> str:
    """As Markdown: means, with the least and the greatest of the seeds."""
    said = verdicts(ours, theirs)
    lines = [f"| metric | before | embedtune | {peer} | embedtune is |", "|---|---|---|---|---|"]
    for name, value in before.items():
        cells = (_spread(_values(side, name), ".4f") for side in (ours, theirs))
        lines.append(f"| {name} | {value:.4f} | {' | '.join(cells)} | {said[name]} |")
    for name, form in (("steps", ".0f"), ("seconds", ".0f")):
        cells = (_spread([getattr(one, name) for one in side], form) for side in (ours, theirs))
        lines.append(f"| {name} | | {' | '.join(cells)} | |")
    return "\n".join(lines)


def _values(found: Sequence[Found], name: str) -> list[float]:
    return [one.metrics[name] for one in found]


def _spread(values: Sequence[float], form: str) -> str:
    """Mean (least to greatest); the mean alone where all are equal."""
    if min(values) == max(values):
        return f"{values[0]:{form}}"
    return f"{mean(values):{form}} ({min(values):{form}} to {max(values):{form}})"
