"""An S3 service that is away for a while: the training goes on, and the checkpoint gets there."""

import socket
import threading
from urllib.parse import urlsplit

import torch

from embedtune_api.checkpoints import Checkpoints
from embedtune_api.spec import Storage as StorageSpec
from embedtune_trainer.checkpoints.keeper import Keeper
from embedtune_trainer.checkpoints.shelf import Shelf
from embedtune_trainer.checkpoints.writer import Backoff
from embedtune_trainer.sources.storage import RetryPolicy, open_storage
from tests.trainer.checkpoints.test_keeper import CPU, ME, Notes


class Line:
    """A connection to a service that can be cut: what comes while it is cut is hung up on."""

    def __init__(self, endpoint):
        self._to = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self.cut, self.refused = threading.Event(), threading.Event()

    def __enter__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        return self

    def __exit__(self, *_):
        self._server.close()

    def _serve(self):
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:
                return
            if self.cut.is_set():
                caller.close()
                self.refused.set()
                continue
            service = socket.create_connection(self._to)
            for ends in ((caller, service), (service, caller)):
                threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source, target):
        while not self.cut.is_set():
            try:
                data = source.recv(65536)
                if not data:
                    break
                target.sendall(data)
            except OSError:
                break
        source.close()
        target.close()


def test_training_goes_on_while_s3_is_away(s3, tmp_path):
    notes, halt = Notes(), threading.Event()
    with Line(s3.endpoint) as line:
        policy = RetryPolicy(give_up_after_s=0.1, first_wait_s=0.02)
        store = open_storage(StorageSpec(endpoint=line.endpoint), halt, policy, s3.env)
        shelf = Shelf(store, store, s3.uri("checkpoints/"), halt)
        backoff = Backoff(0.02, 0.05)
        with Keeper(shelf, Checkpoints(), ME, tmp_path, notes, backoff=backoff) as keeper:
            line.cut.set()
            for step in (5, 10, 15):  # returns at once, whatever the service does
                keeper.offer(step, {"w": torch.full((4,), float(step))}, CPU)
            assert line.refused.wait(10)
            assert notes.heard("checkpoint not written yet, it is tried again")
            assert not s3.names("checkpoints")
            line.cut.clear()
            assert keeper.settled(20)
            step, found = keeper.newest(CPU)
    assert step == 15
    assert found["w"].tolist() == [15.0] * 4
