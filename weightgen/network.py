"""Is there a network? Asked once and briefly: hub clients retry for most of a minute where there is none."""

import contextlib
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

SECONDS = 8


def public_address(address: str) -> str:
    """An address as it may be written down: without user, password, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def require_network(address: str) -> None:
    """Return if `address` answers, be it with a refusal. Raises OSError within 9 s if not, or if HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise OSError("not in the local cache, and HF_HUB_OFFLINE is set")
    outcome: list[Exception | None] = []

    def ask() -> None:
        try:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(address, timeout=SECONDS).close()
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    # In a thread, since looking up a name knows no time-out.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS + 1)
    if not outcome:
        raise OSError(f"{address} gave no answer in {SECONDS} s")
    if outcome[0] is not None:
        raise outcome[0]
