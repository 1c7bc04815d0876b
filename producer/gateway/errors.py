"""Errors that only the gateway raises. The first line of a class's docstring is its title in responses."""

from ..errors import MaskqError


class UnsupportedMedia(MaskqError):
    """The body's media type, charset or encoding is not supported."""

    status = 415


class UploadTooSlow(MaskqError):
    """The body arrives too slowly."""

    status = 408


class GatewayBusy(MaskqError):
    """The gateway has reached one of its limits; retry later."""

    status = 503


class NotAcceptable(MaskqError):
    """No format of this result has a media type that the request accepts."""

    status = 406


class OtherFormat(MaskqError):
    """The labels exist in the other format only."""

    status = 404
