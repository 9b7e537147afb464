"""vidreason: the R1 recipe for small video models as one reproducible pipeline.

`load` is found when it is used, so that `import vidreason` loads no heavy library.

Example:
    model = vidreason.load("results/demo/train_grpo/r1/seed0/checkpoint")
    print(model.ask("clip.mp4", "Which thing comes first?", ["a red ball", "a blue box"]))
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Names of modules as texts: every module of this package imports this one, and a rule's digest of its code follows imports.
_ELSEWHERE = {"load": "vidreason.engine.ask"}


def __getattr__(name: str) -> Any:
    """`load` from the module that defines it."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ELSEWHERE])
