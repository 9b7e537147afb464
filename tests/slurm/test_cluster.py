"""`snakemake --profile slurm` on a real SLURM: the whole graph, one GPU, several GPUs, several nodes."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.slurm.conftest import R1, Cluster, on_cluster
from tests.workflow.conftest import Workplace, provenance, results_of

pytestmark = pytest.mark.workflow
PARENT = "results/tiny/train_sft/coldstart/seed0/checkpoint"


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


TOGETHER = ("read_questions=data", "extract_frames=data", "predict=answers")
"""Rules whose jobs are so short here that the queue takes several at a time."""


def test_the_whole_graph_gives_the_tables_of_a_local_run(
    cluster: Cluster, fresh: Workplace, finished: Workplace
) -> None:
    fresh.run(*on_cluster("--groups", *TOGETHER, "--group-components", "data=6", "answers=7"))
    assert results_of(fresh) == results_of(finished)
    assert provenance(fresh, "results/tiny/predict/r1/seed0/mmvu/shard0.jsonl")["nodes"] in ("n1", "n2")


def test_a_training_on_two_gpus_is_started_once_with_two_ranks(cluster: Cluster, spare: Workplace) -> None:
    before = weights_of(spare.root / R1)
    (spare.root / R1).rename(spare.root / f"{R1}.before")
    spare.run(*on_cluster(R1, grpo=("gpu=2",)))
    told = provenance(spare, R1)
    assert (told["ranks"], told["devices"]) == (2, "0,1")
    check_close(spare, before)


def test_a_training_on_two_nodes_is_started_once_on_each(cluster: Cluster, spare: Workplace) -> None:
    before = weights_of(spare.root / R1)
    (spare.root / R1).rename(spare.root / f"{R1}.before")
    spare.run(*on_cluster(R1, grpo=("nodes=2", "gres='gpu:1'")))
    told = provenance(spare, R1)
    assert (told["ranks"], told["nodes"]) == (2, "n[1-2]")
    check_close(spare, before)


def check_close(place: Workplace, wanted: dict[str, torch.Tensor]) -> None:
    """Whether the arm's weights are those of one process, but for sums in another order.

    Adam's first steps have the size of the learning rate whatever the gradient's, so a weight whose gradient is nothing but
    rounding may go the other way. Such weights must be few: the difference is a small part of what was learned.
    """
    found, parent = weights_of(place.root / R1), weights_of(place.root / PARENT)
    assert found.keys() == wanted.keys() == parent.keys()
    apart, learned = (
        float(sum((wanted[name] - other[name]).double().square().sum() for name in wanted)) ** 0.5
        for other in (found, parent)
    )
    assert learned > 0
    assert apart < 0.05 * learned
