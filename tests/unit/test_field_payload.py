"""The payload between the stages: it decodes to what was encoded, and anything else is refused."""

from __future__ import annotations

import json

import pytest

from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.errors import InvalidFields
from maskq.tasks.field_payload import FieldHeader, decode, encode

HEADER = FieldHeader(model="nuclei@3", clustering=Clustering(0.93, 24, 5))


@pytest.mark.parametrize("fields", [b"", b"\n", b"MQF1\n\x00{}\n", bytes(range(256))], ids=str)
def test_fields_arrive_as_they_were(fields: bytes) -> None:
    assert decode(encode(HEADER, fields)) == (HEADER, fields)


def test_members_that_a_newer_worker_adds_are_ignored() -> None:
    header = HEADER.model_dump(mode="json")
    header["image"] |= {"newer": 1}
    header["clustering"] |= {"newer": 1}
    assert decode(json.dumps(header | {"newer": [1]}).encode() + b"\nfields") == (HEADER, b"fields")


@pytest.mark.parametrize(
    "payload", [b"", b"\n", b"MQF1 and so on", b'{"model": "nuclei@3"}\n', b"{}\n\xff", b"\xff\n"], ids=str
)
def test_what_does_not_begin_with_a_header_is_refused(payload: bytes) -> None:
    with pytest.raises(InvalidFields, match="do not begin with a header"):
        decode(payload)
