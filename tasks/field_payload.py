"""What the first stage tells the second beside the fields: the model that made them, and how they are to be read.

So both stages of a job go by one version, whatever is published between them, and CPU workers need no models.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from maskq.segmentation.clustering.cluster import Clustering
from maskq.segmentation.errors import InvalidFields


class FieldPayload(BaseModel):
    """One line of JSON before the packed fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: With its version, `nuclei@3`.
    model: str
    clustering: Clustering

    def seal(self, fields: bytes) -> bytes:
        """This and the packed fields, as one payload."""
        return b"%b\n%b" % (self.model_dump_json().encode(), fields)

    @classmethod
    def open(cls, payload: bytes) -> tuple[FieldPayload, bytes]:
        """The handover and the fields that `seal` put together. Raises `InvalidFields`."""
        line, _, fields = payload.partition(b"\n")
        try:
            return cls.model_validate_json(line), fields
        except ValidationError as error:
            raise InvalidFields(f"these bytes do not begin with a handover: {error}") from error
