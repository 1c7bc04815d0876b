"""`PYTHON with_litserve.py PORT`: one worker process behind LitServe's HTTP server, at `/predict`."""

# mypy: ignore-errors
import sys
from typing import Annotated

import litserve
from fastapi import Body, Response
from handler import labels


class Labels(litserve.LitAPI):
    """Images and labels as they are, without LitServe's JSON."""

    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]) -> bytes:
        return request

    def predict(self, data: bytes) -> bytes:
        return labels(data)

    def encode_response(self, output: bytes) -> Response:
        return Response(output)


if __name__ == "__main__":
    server = litserve.LitServer(Labels(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), num_api_servers=1, generate_client_file=False, log_level="warning"
    )
