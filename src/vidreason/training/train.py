"""Train one arm from its spec: what `workflow/scripts/train.py` runs, once for each process."""

from vidreason.artifacts.files import read_json
from vidreason.artifacts.provenance import fingerprint, write_sidecar
from vidreason.config.optimization import GrpoRuntime, Runtime
from vidreason.config.settings import TrainingSpec
from vidreason.training.files import TrainingFiles
from vidreason.training.grpo import train_grpo
from vidreason.training.registered import training_modules
from vidreason.training.sft import train_sft
from vidreason.training.state import discard_states


def train(spec: TrainingSpec, runtime: Runtime, files: TrainingFiles) -> None:
    """Train one arm, write the provenance of its results, and remove its saved states.

    Args:
        spec: What is trained.
        runtime: How it runs on this machine; no part of what defines the training.
        files: With the JSON file that the spec was read from.

    Raises:
        ValueError: The files do not name the spec's.
    """
    if files.spec is None:
        raise ValueError("the file of the spec is needed: it defines the training")
    written, modules = read_json(files.spec), training_modules(spec)
    origin = fingerprint(written, files.inputs, modules)
    if isinstance(runtime, GrpoRuntime):
        ranks = train_grpo(spec, runtime, files, origin)
    else:
        ranks = train_sft(spec, runtime, files, origin)
    if ranks.is_main:
        for artifact in files.outputs:
            write_sidecar(artifact, [files.spec, *files.inputs], written | {"runtime": runtime.model_dump()}, modules)
        discard_states(files.state)
