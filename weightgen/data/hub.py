"""Whether the Hugging Face hub can be reached, found out within seconds: its own clients retry for most of a minute."""

import contextlib
import threading
import urllib.error
import urllib.request

SECONDS = 5.0


def silence() -> str | None:
    """Why the hub cannot be reached, None where it answers (a refusal is an answer too)."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    reason: list[str | None] = [f"no answer in {SECONDS:.0f} s"]

    def ask() -> None:
        try:
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(constants.ENDPOINT, timeout=SECONDS).close()
            reason[0] = None
        except OSError as error:
            reason[0] = str(getattr(error, "reason", error))

    # a thread, as looking a name up knows no time-out
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(SECONDS + 1)
    return reason[0]
