"""How jobs are started on GPUs and nodes, as command lines: one process, torchrun, or srun and torchrun."""

import shlex
from collections.abc import Mapping
from typing import Any

from vidreason.config.gpus import gpus_per_node

SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
SHUTDOWN_SECONDS = 300
"""By itself torchrun gives its processes 30 s to stop, and dies of SIGUSR1 without passing it on."""


def training_command(python: str, resources: Mapping[str, Any], batch_size: int, arm: str) -> str:
    """The beginning of a training's command line: everything before the script.

    One process where the job has no GPU or one; torchrun for the GPUs of one node, where `vidreason.config.gpus` chooses them;
    srun and a torchrun on each of several nodes, where SLURM does. On several nodes the job runs on the first one, where the
    others find it.

    Args:
        python: The interpreter, quoted for a shell.
        resources: `nodes`, `gpu`, `gres` and `cpus_per_task` of the job; others do not matter.
        batch_size: Questions of a step, which all processes share evenly.
        arm: Name of the arm, for messages.

    Raises:
        ValueError: The resources contradict each other, or the batch cannot be shared evenly.

    Example:
        >>> training_command("python", {"gpu": 1}, 8, "r1")
        'python -m vidreason.config.gpus 1 python'
    """
    nodes, per_node = gpus_per_node(resources)
    check_ranks(arm, batch_size, nodes * max(1, per_node))
    torchrun = torchrun_command(python)
    if nodes > 1:
        return f"{srun_command(nodes, resources.get('cpus_per_task'))} {torchrun} {_rendezvous(nodes, per_node)}"
    command = python if per_node < 2 else f"{torchrun} --standalone --nproc_per_node {per_node}"
    return f"{python} -m vidreason.config.gpus {per_node} {command}"


def torchrun_command(python: str) -> str:
    """torchrun, with time to save a state when it is told to stop."""
    return f"{python} -m torch.distributed.run --shutdown-timeout {SHUTDOWN_SECONDS} --signals-to-handle {SIGNALS}"


def srun_command(nodes: int, cpus: Any = None) -> str:
    """Srun that starts one task on each node of the job.

    The executor's own step has one task and tells those within it that the job has one node, so these variables are unset.

    Args:
        nodes: Number of nodes.
        cpus: CPUs of a task; None for SLURM's default.
    """
    unset = "-u SLURM_NNODES -u SLURM_NODELIST -u SLURM_JOB_NUM_NODES -u SLURM_JOB_NODELIST"
    share = f" --cpus-per-task={shlex.quote(str(cpus))}" if cpus else ""
    tasks = f"--nodes={nodes} --ntasks={nodes} --ntasks-per-node=1{share}"
    return f"env {unset} srun --overlap {tasks} --kill-on-bad-exit=1"


def _rendezvous(nodes: int, per_node: int) -> str:
    """How the processes of several nodes find each other: by the job's number, on its first node."""
    return (
        "--rdzv_backend c10d --rdzv_id $SLURM_JOB_ID --rdzv_endpoint $(hostname):$((20000 + SLURM_JOB_ID % 12000)) "
        f"--nnodes {nodes} --nproc_per_node {per_node}"
    )


def check_ranks(arm: str, batch_size: int, ranks: int) -> None:
    """Check that processes can share a step's questions evenly, before anything is submitted.

    Raises:
        ValueError: They cannot.
    """
    if batch_size % ranks:
        raise ValueError(
            f"{arm} would train on {ranks} GPUs, which its batch_size of {batch_size} cannot be shared by evenly; ask fewer for "
            "this rule (in slurm/config.yaml, because --set-resources would drop all that the profile sets), or make batch_size a multiple"
        )


def single_gpu(resources: Mapping[str, Any]) -> int:
    """GPUs of a job that is one process: one or none.

    Raises:
        ValueError: The job asks for more, or its resources contradict each other.
    """
    nodes, per_node = gpus_per_node(resources)
    if nodes * per_node > 1:
        raise ValueError(
            f"nodes: {nodes} with {per_node} GPUs on each for one process, which uses one; ask for gpu: 1 (or gres: gpu:1) and "
            "let `jobs`, or --resources gpu=N where there is no cluster, run several jobs at a time (slurm/config.yaml)"
        )
    return per_node


def check_resources(overwritten: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse `--set-resources RULE:gpus=N`, which would ask a cluster for nothing.

    Raises:
        ValueError: A rule has it.
    """
    for rule, resources in overwritten.items():
        if "gpus" in resources:
            raise ValueError(f"{rule}: no cluster is asked for `gpus`; write gpu, or gres (slurm/config.yaml)")
