"""How a contest's result is named, and what is told to make it again."""

import pytest

from bench.contest import parser, request


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
