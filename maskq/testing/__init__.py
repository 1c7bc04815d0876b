"""Test a backend without a broker, Redis or workers: `FakeClient` is a `Client` whose jobs end as the test says.

    from maskq.testing import FakeClient

    result = FakeClient().submit(b"an image").wait()

See docs/testing.md.
"""

from .fake_client import FakeClient
from .fake_results import Box

__all__ = ["Box", "FakeClient"]
