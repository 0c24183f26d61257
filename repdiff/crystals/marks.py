"""Eight bytes that stand for a longer text, so that millions of texts are compared in memory."""

import hashlib


def mark(text: str) -> int:
    """Return 64 bits of the hash of a text: different texts have different ones, but for a chance of one in 2⁶⁴.

    Example:
        >>> mark("NaCl") == mark("NaCl"), mark("NaCl") == mark("KCl")
        (True, False)
    """
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
