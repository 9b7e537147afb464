"""vidreason: the R1 recipe for small video models as one reproducible pipeline.

`load` and `register` are found when they are used, so that `import vidreason` loads no heavy library.

Example:
    model = vidreason.load("results/demo/train_grpo/r1/seed0/checkpoint")
    print(model.ask("clip.mp4", "Which thing comes first?", ["a red ball", "a blue box"]))

    vidreason.register()  # from here on transformers' Auto classes load the same folder
"""

import importlib
from typing import Any

__version__ = "0.1.0"

# Names of modules as texts: every module of this package imports this one, and a rule's digest of its code follows imports.
_ELSEWHERE = {"load": "vidreason.engine.ask", "register": "vidreason.models.auto"}


def __getattr__(name: str) -> Any:
    """`load` or `register`, from the module that defines it."""
    if name not in _ELSEWHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ELSEWHERE[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_ELSEWHERE])
