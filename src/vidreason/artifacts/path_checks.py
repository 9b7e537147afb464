"""Questions about paths."""

from pathlib import Path


def is_inside(path: str) -> bool:
    """Whether a relative path stays within its folder, judged by its text.

    Example:
        >>> is_inside("a/b.mp4"), is_inside("../b.mp4"), is_inside("/b.mp4"), is_inside("")
        (True, False, False, False)
    """
    parts = path.split("/")
    short = len(path) < 4096 and all(len(part.encode("utf-8", "surrogatepass")) < 256 for part in parts)
    return bool(path) and short and not path.startswith("/") and ".." not in parts and "\0" not in path


def is_there(path: Path) -> bool:
    """Whether a path exists. Where `Path.exists` would raise (no permission, a name that is too long), it does not."""
    try:
        return path.exists()
    except OSError:
        return False
