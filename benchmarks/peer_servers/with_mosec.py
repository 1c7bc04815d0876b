"""`PYTHON with_mosec.py PORT`: one worker process behind mosec's HTTP server, at `/inference`."""

# mypy: ignore-errors
import sys

from handler import labels
from mosec import Server, Worker


class Labels(Worker):
    """Images and labels as they are, without mosec's JSON."""

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> bytes:
        return labels(data)


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", sys.argv[1]]
    server = Server()
    server.append_worker(Labels, num=1)
    server.run()
