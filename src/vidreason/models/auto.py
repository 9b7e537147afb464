"""Makes the checkpoints of this package known to transformers' Auto classes, without remote code."""

from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForMultimodalLM,
    AutoProcessor,
)

from vidreason.models.tinyllava.auto import AutoTinyLlavaConfig, AutoTinyLlavaProcessor, AutoTinyLlavaVideo

MODELS = (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM)


def register() -> None:
    """Register every family; a second call changes nothing.

    Example:
        vidreason.register()
        model = transformers.AutoModel.from_pretrained(folder)
        processor = transformers.AutoProcessor.from_pretrained(folder)
    """
    AutoConfig.register(AutoTinyLlavaConfig.model_type, AutoTinyLlavaConfig, exist_ok=True)
    for kind in MODELS:
        kind.register(AutoTinyLlavaConfig, AutoTinyLlavaVideo, exist_ok=True)
    AutoProcessor.register(AutoTinyLlavaConfig, AutoTinyLlavaProcessor, exist_ok=True)
