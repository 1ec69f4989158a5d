"""Is there a network? Asked once and briefly: hub clients retry for most of a minute where there is none."""

import contextlib
import urllib.error
import urllib.request

SECONDS = 8


def require_network(address: str) -> None:
    """Return if `address` answers, be it with a refusal. Raises OSError within 8 s if not, or if HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OSError("not in the local cache, and HF_HUB_OFFLINE is set")
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(address, timeout=SECONDS).close()
