# Where jobs run: how a training is started on its GPUs and nodes, and what an earlier run may have left: jobs in a cluster's queue,
# unfinished files.

import fcntl
import shlex
import shutil
import subprocess
import uuid

from snakemake.logging import logger

from vidreason.config.gpus import cards_per_node, visible_cards
from vidreason.artifacts.files import remove_leftovers
from vidreason.artifacts.integrity import CALL_VARIABLE

os.environ.setdefault(CALL_VARIABLE, uuid.uuid4().hex)  # handed down to the jobs: what is large is compared once a run

for name, given in workflow.resource_settings.overwrite_resources.items():
    if "gpus" in given:
        raise WorkflowError(f"{name}: no cluster is asked for `gpus`; write gpu, or gres (slurm/config.yaml)")


def launch(wildcards, resources):
    """How a training is started: one process, torchrun once for all GPUs of a node, or once on each of several nodes.

    Depends on the resources, so it is no part of what Snakemake compares: more GPUs retrain nothing. On several nodes the
    job runs on the first of them, where the others find it. On one, `vidreason.config.gpus` chooses the GPUs first.
    """
    python = "python" if workflow.deployment_settings.deployment_method else shlex.quote(sys.executable)
    if "arm" not in wildcards.keys():
        return python  # it downloads or unpacks
    nodes, per_node = asked_cards(resources)
    check_ranks(wildcards, nodes * max(1, per_node))
    # By itself it gives its processes 30 s to stop, and dies of SIGUSR1 without telling them.
    torchrun = (
        f"{python} -m torch.distributed.run --shutdown-timeout 300 "
        "--signals-to-handle SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"
    )
    if nodes > 1:
        cpus = f" --cpus-per-task={shlex.quote(str(resources.cpus_per_task))}" if resources.get("cpus_per_task") else ""
        # The executor's own step has one task and tells those within it that the job has one node.
        unset = "-u SLURM_NNODES -u SLURM_NODELIST -u SLURM_JOB_NUM_NODES -u SLURM_JOB_NODELIST"
        return (
            f"env {unset} srun --overlap --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1{cpus} --kill-on-bad-exit=1 "
            f"{torchrun} --rdzv_backend c10d --rdzv_id $SLURM_JOB_ID "
            "--rdzv_endpoint $(hostname):$((20000 + SLURM_JOB_ID % 12000)) "
            f"--nnodes {nodes} --nproc_per_node {per_node}"
        )
    command = python if per_node < 2 else f"{torchrun} --standalone --nproc_per_node {per_node}"
    return f"{python} -m vidreason.config.gpus {per_node} {command}"


def asked_cards(resources):
    """Nodes of a job and GPUs on each; what cannot be is refused before anything is submitted."""
    try:
        return cards_per_node(dict(resources.items()))
    except ValueError as error:
        raise WorkflowError(str(error)) from error


def one_card(wildcards, resources):
    """GPUs of a job that is one process: one or none. Depends on the resources, like `launch`."""
    nodes, per_node = asked_cards(resources)
    if nodes * per_node > 1:
        raise WorkflowError(
            f"nodes: {nodes} with {per_node} GPUs on each for one process, which uses one; ask for gpu: 1 (or gres: gpu:1) and "
            "let `jobs`, or --resources gpu=N where there is no cluster, run several jobs at a time (slurm/config.yaml)"
        )
    return per_node


def check_ranks(wildcards, ranks):
    """A step's questions must be shared evenly; said before anything is submitted."""
    if "arm" not in wildcards.keys():
        return
    batch_size = resolve_arm(run_of(wildcards), wildcards.arm, int(wildcards.seed))["batch_size"]
    if batch_size % ranks:
        raise WorkflowError(
            f"results/{wildcards.run}: {wildcards.arm} would train on {ranks} GPUs, which its batch_size of {batch_size} "
            "cannot be shared by evenly; ask fewer for this rule (slurm/config.yaml, --set-resources), or make batch_size "
            "a multiple"
        )


def warn_of_interpreter():
    """Snakemake starts the jobs of a `script:` by the unquoted path of its interpreter; the Makefile refuses such a folder."""
    if not workflow.deployment_settings.deployment_method and re.search(r"[^\w/.+=@%,-]", sys.executable):
        logger.warning(
            f"Snakemake hands the path of its Python to a shell unquoted, so scripts will not start: {sys.executable}. Install "
            "it in a folder of letters, digits and / . _ - + = @ % , only."
        )


def warn_of_idle_cards():
    """Without a cluster a job uses no GPU unless asked to; a long run on the CPU beside idle GPUs should be no surprise."""
    if workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm":
        return
    given = workflow.resource_settings.overwrite_resources.values()
    if not any({"gpu", "gres"} & set(resources) for resources in given) and (cards := visible_cards()):
        logger.warning(
            f"This machine has {len(cards)} GPUs, and no job was asked to use one: all compute on the CPU. To use them, see "
            "docs/hardware.md (--resources gpu=N --set-resources train_grpo:gpu=N ...)"
        )


def remember_machine():
    """Tell workflow/launch.sh on which machine this folder's lock was taken."""
    path = ".snakemake/launched-on"
    if os.path.isdir(path):
        raise WorkflowError(f"{os.path.abspath(path)} is a folder, where a file is written; remove it: rm -r {path}")
    with open(path, "w") as record:
        print(os.uname().nodename, file=record)


def hold_folder():
    """Let one run work in this folder at a time; the lock goes with the process.

    Snakemake's own locks are not enough: any of its calls that ends in this folder removes those of all others, even one that
    had nothing to do.
    """
    global in_use
    in_use = open(".snakemake/in-use", "a+")
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        in_use.seek(0)
        raise WorkflowError(
            f"This folder is in use by {in_use.read().strip() or 'another snakemake'}; wait until it is done, or end it, and try again"
        ) from None
    except OSError:  # a file system without locks
        return
    in_use.truncate(0)
    print(f"process {os.getpid()} on {os.uname().nodename}", file=in_use, flush=True)


def jobs_in_queue(folder):
    """Jobs that an earlier snakemake has put into SLURM's queue from a folder: job number, name and state of each.

    The executor's names of jobs end with the run ID, a UUID. The job that this process itself may run in is none of them.
    """
    needed = workflow.executor_plugin is not None and workflow.executor_plugin.name == "slurm"
    if not needed and not os.path.isdir(".snakemake/slurm_logs"):
        return []  # no run of this folder has ever submitted a job
    if shutil.which("squeue") is None:
        if needed:
            raise WorkflowError("--profile slurm: there is no squeue here; start snakemake where SLURM's commands are")
        return []
    command = ["squeue", "--noheader", "--me", "--format", "%i|%j|%T|%Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
        message = (error.stderr or "").strip() or error
        if needed:
            raise WorkflowError(
                f"--profile slurm: SLURM does not answer here, so nothing is submitted:\n{message}"
            ) from error
        reason = str(message).splitlines()[-1]
        logger.warning(f"SLURM could not be asked for jobs that an earlier run of this folder may have left: {reason}")
        return []
    rows = [line.split("|", 3) for line in done.stdout.splitlines() if line.count("|") >= 3]
    run_id = re.compile(r"(^|_)[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    return [
        (number, name, state)
        for number, name, state, where in rows
        if run_id.search(name) and os.path.realpath(where) == folder and number != os.environ.get("SLURM_JOB_ID")
    ]


def refuse_beside_orphans():
    """A killed snakemake leaves its jobs in the queue; the same jobs started beside them would write the same files."""
    left = jobs_in_queue(os.path.realpath(workflow.workdir_init))
    if left:
        listed = "\n".join(f"  job {number}, name {name}, {state}" for number, name, state in left)
        cancel = "\n".join(f"  scancel --name {name}" for name in sorted({name for _, name, _ in left}))
        raise WorkflowError(
            f"Jobs of an earlier run in this folder are still in SLURM's queue and would write the same files:\n{listed}\n"
            f"Wait until they are through, or end them, and try again:\n{cancel}"
        )
