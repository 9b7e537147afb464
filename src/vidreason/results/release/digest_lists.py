"""Lists of digests, as `sha256sum` writes and checks them."""

import re
from collections.abc import Mapping

_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n]+)")


def digest_lines(digests: Mapping[str, str]) -> str:
    """Digests as `sha256sum` writes them."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def read_digests(text: bytes, where: str) -> dict[str, str]:
    """Name -> digest, from lines that `digest_lines` wrote."""
    digests = {}
    for number, line in enumerate(text.decode("utf-8").split("\n")[:-1], start=1):
        match = _LINE.fullmatch(line)
        if not match or match[2] in digests:
            raise ValueError(
                f"{where}:{number}: {line[:80]!r}; needed is a digest of 64 hex digits and the name of one file"
            )
        digests[match[2]] = match[1]
    if digest_lines(digests).encode() != text:
        raise ValueError(f"{where}: not sorted by name, or its last line is cut off")
    return digests
