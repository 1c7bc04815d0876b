"""Reads an image file from a URL with fsspec, which finds the client for its protocol."""

from ..errors import ContainerUnavailable, InvalidJob, PayloadTooLarge


def read_url(url: str, max_bytes: int) -> bytes:
    """The file's bytes, read in one request.

    Raises `PayloadTooLarge`, `ContainerUnavailable` if the package for the protocol is not installed, `InvalidJob` for
    an unknown protocol or what the protocol's own package raises, and `OSError`: `FileNotFoundError` if there is no
    such file, `ConnectionError` if the host can't be reached.
    """
    import fsspec

    try:
        with fsspec.open(url, "rb") as file:
            data: bytes = file.read(max_bytes + 1)
    except FileNotFoundError as error:
        if fault := _fault(url, error):
            raise fault from error
        raise
    except OSError:
        raise
    except ImportError as error:
        raise ContainerUnavailable(f"{url}: {error}") from error
    except Exception as error:  # the packages of protocols have errors of their own
        raise InvalidJob(f"{url}: can't be read ({type(error).__name__}: {error})"[:500]) from error
    if len(data) > max_bytes:
        raise PayloadTooLarge(f"{url}: more than the limit of {max_bytes:,} bytes")
    return data


def _fault(url: str, error: FileNotFoundError) -> OSError | None:
    """The fault of which fsspec says over HTTP that there is no such file; None if there is none."""
    cause = error.__cause__
    if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410):
        return None
    if isinstance(cause, OSError | TimeoutError):
        return ConnectionError(f"{url}: can't be reached ({cause})"[:500])
    return OSError(f"{url}: can't be read ({type(cause).__name__}: {cause})"[:500])
