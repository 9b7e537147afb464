"""Command lines of trainings: one process, torchrun, srun; and what cannot be started."""

import pytest

from vidreason.config.launcher import check_ranks, check_resources, single_gpu, srun_command, training_command


def test_one_gpu_or_none_is_one_process() -> None:
    for resources, count in (({}, 0), ({"gpu": 1}, 1), ({"gres": "gpu:a100:1"}, 1)):
        command = training_command("python", resources, 8, "r1")
        assert command == f"python -m vidreason.config.gpus {count} python"


@pytest.mark.parametrize("resources", [{"gpu": 4}, {"gres": "gpu:4"}, {"gres": "gpu:a100:4"}])
def test_the_gpus_of_a_node_get_a_process_each(resources: dict[str, object]) -> None:
    command = training_command("'/a b/python'", resources, 8, "r1")
    assert command.startswith("'/a b/python' -m vidreason.config.gpus 4 '/a b/python' -m torch.distributed.run ")
    assert command.endswith(" --standalone --nproc_per_node 4")
    assert "--shutdown-timeout 300 --signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1" in command


def test_several_nodes_get_a_torchrun_each() -> None:
    command = training_command("python", {"nodes": 2, "gpu": 16, "cpus_per_task": 6}, 16, "r1")
    assert command.startswith("env -u SLURM_NNODES ")
    assert " srun --overlap --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpus-per-task=6 --kill-on-bad-exit=1 " in command
    assert command.endswith(" --nnodes 2 --nproc_per_node 8")
    assert "vidreason.config.gpus" not in command, "SLURM chooses the GPUs"
    assert "--cpus-per-task" not in srun_command(2)
    assert "--cpus-per-task='1; x'" in srun_command(2, "1; x"), "quoted for a shell"


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"gpu": 3}, "r1 would train on 3 GPUs, which its batch_size of 8 cannot be shared by evenly"),
        ({"nodes": 2, "gpu": 6}, "r1 would train on 6 GPUs"),
        ({"gpu": "two"}, "gpu: two is not allowed; allowed: a whole number, 0 or more"),
        ({"nodes": 2}, "nodes: 2 without a GPU"),
    ],
)
def test_what_cannot_be_started_is_refused(resources: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        training_command("python", resources, 8, "r1")


def test_ranks_that_share_a_batch_evenly() -> None:
    for ranks in (1, 2, 4, 8):
        check_ranks("r1", 8, ranks)


def test_a_job_of_one_process_uses_one_gpu_or_none() -> None:
    assert [single_gpu(resources) for resources in ({}, {"gpu": 1}, {"gres": "gpu:1"})] == [0, 1, 1]
    for resources in ({"gpu": 2}, {"nodes": 2, "gpu": 2}):
        with pytest.raises(ValueError, match="for one process, which uses one; ask for gpu: 1"):
            single_gpu(resources)


def test_gpus_as_a_cluster_is_not_asked_for_them() -> None:
    check_resources({"train_grpo": {"gpu": 8}})
    with pytest.raises(ValueError, match="train_grpo: no cluster is asked for `gpus`; write gpu, or gres"):
        check_resources({"train_sft": {}, "train_grpo": {"gpus": 8}})
