"""The client of `claimtrace serve`: decide on claims, score them, and ask why, over HTTP.

>>> with Client("http://127.0.0.1:8470") as client:
...     client.url
'http://127.0.0.1:8470'

Needs the extra `client`: `pip install "claimtrace[client]"`.
"""

from .adapters.async_client import AsyncBatches, AsyncClient
from .adapters.sync_client import Batches, Client
from .answers import FeatureGroup, Job, Models, ModelShown, NotScored

__all__ = [
    "AsyncBatches",
    "AsyncClient",
    "Batches",
    "Client",
    "FeatureGroup",
    "Job",
    "ModelShown",
    "Models",
    "NotScored",
]
