"""What only the gateway has to say no to; the rest is `maskq.producer.errors`."""

from __future__ import annotations

from ..errors import MaskqError


class UnsupportedMedia(MaskqError):
    """The body is not in a form that an image can be in."""

    status = 415


class UploadTooSlow(MaskqError):
    """The body comes too slowly."""

    status = 408


class GatewayBusy(MaskqError):
    """The gateway has as much in hand as it may have; try again later."""

    status = 503


class OtherFormat(MaskqError):
    """The labels are there, in the other format."""

    status = 404
