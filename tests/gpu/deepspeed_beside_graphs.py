"""Steps of DeepSpeed on a CUDA device with decoding before each, of more rows every time; see test_engine.py.

The last line that it prints is what it found, as JSON.
"""

import json

import torch

from tests.support import micro
from vidreason.engine import decoder, generation
from vidreason.engine.generation import Decoding, generate, rollout_seed
from vidreason.training.distributed import ending_together, start_ranks
from vidreason.training.optimizer import DeepSpeedOptimizer

SETTINGS = micro.optimizer(deepspeed={"zero_stage": 2, "offload_optimizer": False})


def generated(model: torch.nn.Module, group: int) -> list[int]:
    """The first rollout of a group."""
    seeds = [rollout_seed(1, "gpu", row) for row in range(group)]
    return generate(model, [torch.tensor([5, 6, 7, 8])], None, Decoding(8, 0.0), -1, group, seeds).ids[0].tolist()


def main() -> None:
    """Train and generate in turns."""
    ranks = start_ranks(deepspeed=True)
    model = micro.model().cuda()
    optimizer = DeepSpeedOptimizer(model, SETTINGS, ranks)
    found: dict[str, list] = {"graphs": [], "recorded": [], "plain": []}
    generated(model, 16)  # room for all, so that the decoder is reused
    decoder._decoders[model]._graphs.clear()
    recorded = generation.decoder_for
    for step in range(5):
        group = 2**step
        found["recorded"].append(str(generated(model, group)))
        found["graphs"].append(len(decoder._decoders[model]._graphs))
        generation.decoder_for = lambda *given: decoder.Decoder(*given, cuda_graph=False)
        found["plain"].append(str(generated(model, group)))
        generation.decoder_for = recorded
        embeds = model.language_model.get_input_embeddings()(torch.tensor([[5, 6, 7]], device="cuda"))
        optimizer.backward(model(embeds).logits.float().square().mean())
        optimizer.step(1e-2)
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    with ending_together():
        main()
