"""TinyLLaVA-Video on transformers' SigLIP and Qwen2, in the published checkpoint format."""
