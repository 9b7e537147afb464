"""A small TinyLLaVA-Video with random weights from a few sizes: the start of the demo's base model."""

from transformers import PreTrainedTokenizerBase

from vidreason.config.base_model import BaseSizes
from vidreason.models.tinyllava.checkpoint import initialize
from vidreason.models.tinyllava.configuration import TinyLlavaConfig
from vidreason.models.tinyllava.modeling import TinyLlavaVideo


def build_model(sizes: BaseSizes, image_size: int, tokenizer: PreTrainedTokenizerBase, seed: int) -> TinyLlavaVideo:
    """Build a model whose random weights depend on `seed` alone; arguments as in `model_config`."""
    model = initialize(model_config(sizes, image_size, len(tokenizer), tokenizer.eos_token_id), seed)
    model.tokenizer = tokenizer
    return model


def model_config(sizes: BaseSizes, image_size: int, vocabulary: int, end: int) -> TinyLlavaConfig:
    """A small TinyLLaVA-Video as the published config.json describes a model, with one resampler group a frame.

    Args:
        sizes: Sizes of its parts.
        image_size: Height and width of a frame in pixels.
        vocabulary: Number of tokens.
        end: Id of the end of sequence.
    """
    text = {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": sizes.width,
        "intermediate_size": sizes.feed_forward,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "max_position_embeddings": sizes.context,
        "rope_theta": float(sizes.rope_theta),
        "initializer_range": sizes.initializer_range,
        "tie_word_embeddings": True,
        "vocab_size": vocabulary,
        "bos_token_id": end,
        "eos_token_id": end,
    }
    vision = {
        "model_type": "siglip_vision_model",
        "hidden_size": sizes.vision_width,
        "intermediate_size": 2 * sizes.vision_width,
        "num_hidden_layers": 2,  # features are those of the last layer but one
        "num_attention_heads": sizes.heads,
        "image_size": image_size,
        "patch_size": image_size // 4,  # a patch is a cell of the synthetic scenes
    }
    return TinyLlavaConfig.from_dict(
        {
            "model_type": "tinyllava",
            "architectures": ["TinyLlavaForConditionalGeneration"],
            "connector_type": "groupresampler",
            "group": sizes.groups,
            "num_queries": sizes.queries,
            "num_resampler_layers": sizes.resampler_layers,
            "resampler_heads": sizes.resampler_heads,
            "resampler_head_width": sizes.resampler_head_width,
            "hidden_size": sizes.width,
            "vision_hidden_size": sizes.vision_width,
            "image_token_index": -200,
            "ignore_index": -100,
            "tokenizer_model_max_length": sizes.context,
            "tokenizer_padding_side": "right",
            "vision_feature_layer": -2,
            "vision_feature_select_strategy": "patch",
            "vocab_size": vocabulary,
            "text_config": text,
            "vision_config": vision,
        }
    )
