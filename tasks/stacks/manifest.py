"""What a stack's first stage leaves for its second, instead of fields."""

from pydantic import BaseModel, ConfigDict, ValidationError

from maskq.segmentation.errors import InvalidFields


class Manifest(BaseModel):
    """Which planes of a stack became jobs, and what they are in it."""

    model_config = ConfigDict(frozen=True)  # a newer writer may add members

    #: The axes of the chosen planes, without `YX`, and their lengths.
    axes: str
    shape: tuple[int, ...]
    #: Height and width of a plane, pixels.
    size: tuple[int, int]
    #: The planes' numbers in the stack, from 1, one after the other.
    planes: tuple[int, ...]
    #: The length of the stack's last axis: a plane whose number is 1 more than a multiple of it begins a new row.
    row: int

    def encode(self) -> bytes:
        """The manifest as a payload."""
        return self.model_dump_json().encode()

    @classmethod
    def decode(cls, payload: bytes) -> "Manifest":
        """The manifest of a payload. Raises `InvalidFields`."""
        try:
            return cls.model_validate_json(payload)
        except ValidationError as error:
            raise InvalidFields(f"these bytes are no manifest of a stack: {error}") from error
