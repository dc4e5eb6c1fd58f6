"""Threads beside the training calculate alone and leave the training's own number alone."""

import torch

from embedtune_trainer.background import background_threads


def test_its_threads_have_one_and_the_caller_keeps_its_own():
    before = torch.get_num_threads()
    with background_threads(2, "beside") as pool:
        assert {pool.submit(torch.get_num_threads).result() for _ in range(4)} == {1}
    assert torch.get_num_threads() == before
