"""How a contest's result is named, what is told to make it again, and who takes too much memory."""

import resource

import pytest
import torch

from bench.contest import parser, request
from bench.contestant import memory_limited


def asked(*arguments):
    parse = parser("", steps=3)
    parse.prog = "clip_step.py"
    parse.add_argument("--size", default="small")
    parse.add_argument("--batch", type=int, default=128)
    return request(parse, arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ([], "clip_step"),
        (["--batch", "128", "--steps", "9", "--turns", "1", "--threads", "1"], "clip_step"),
        (["--batch", "64"], "clip_step_64"),
        (["--device", "cuda", "--batch", "64", "--size", "b32"], "clip_step_cuda_b32_64"),
    ],
)
def test_what_makes_it_another_contest_gives_it_a_result_of_its_own(arguments, name):
    assert asked(*arguments).name == name


def test_the_command_is_told_as_it_was_given():
    command = "PYTHONPATH=local python bench/clip_step.py --batch 64"
    assert asked("--batch", "64").command == command


def test_who_asks_for_more_memory_than_there_is_gets_an_error_that_tells_how_much_there_was():
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    said = r"needs more than the [\d,]+ MB that were free"
    with pytest.raises(MemoryError, match=said), memory_limited():
        torch.empty(2**40)
    assert resource.getrlimit(resource.RLIMIT_DATA) == limits


def test_another_error_stays_as_it_is():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), memory_limited():
        torch.ones(2, 3) @ torch.ones(2, 3)
