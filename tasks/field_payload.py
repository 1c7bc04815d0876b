"""The payload between the two stages: a header, then the packed fields.

The header names the model that made the fields and how to read them. So both stages of a job use one model version,
whatever is published between them, and CPU workers need no models.
"""

from pydantic import BaseModel, ConfigDict, ValidationError

from maskq.producer.schema import ImageInfo
from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.errors import InvalidFields


class FieldHeader(BaseModel):
    """The header: one line of JSON before the packed fields.

    Unknown members are ignored: during a rolling upgrade, an older CPU worker reads what a newer device worker writes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    #: The model with its version, `nuclei@3`.
    model: str
    clustering: Clustering
    image: ImageInfo = ImageInfo()


def encode(header: FieldHeader, fields: bytes) -> bytes:
    """The header and the packed fields as one payload."""
    return b"%b\n%b" % (header.model_dump_json().encode(), fields)


def decode(payload: bytes) -> tuple[FieldHeader, bytes]:
    """The header and the packed fields of a payload. Raises `InvalidFields`."""
    line, _, fields = payload.partition(b"\n")
    try:
        return FieldHeader.model_validate_json(line), fields
    except ValidationError as error:
        raise InvalidFields(f"these bytes do not begin with a header of fields: {error}") from error
