# Where data and weights are, and what must be there before they can be read. No rule is defined here.


def ready(wildcards, path):
    """What must be there before a path can be read; the path of a data set is a folder that many rules fill."""
    return ready_at(run_of(wildcards), path)


def data_root(wildcards):
    """Folder of a data set or benchmark."""
    dataset = wildcards.get("dataset", "nextqa")
    return path_of(wildcards, f"{'benchmarks' if dataset in BENCHMARKS else 'data'}.{dataset}.root")


def root_ready(wildcards):
    """The last step that makes the folder of a data set; nothing for a folder of the user's own."""
    root = data_root(wildcards)
    return [ready(wildcards, root)] if is_made(run_of(wildcards), root) else []


def data_ready(wildcards):
    """What a data set's questions are read from: what makes its folder, and annotation files of the user's own."""
    return [*root_ready(wildcards), *annotations_ready(wildcards)]


def annotations_of(wildcards):
    """Name of a data set's annotation file; benchmarks have fixed names."""
    try:
        return annotations_at(run_of(wildcards), wildcards.get("dataset", "nextqa"), LAYERS[wildcards.run])
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def annotations_ready(wildcards):
    """Annotation files of the user's own, or the source that one comes from which is not in the data set's folder."""
    run, root, name = run_of(wildcards), data_root(wildcards), annotations_of(wildcards)
    if name and is_made(run, name):
        return [ready(wildcards, name)]
    if is_made(run, root):
        return [name] if name and os.path.isfile(name) else []
    return [str(path) for path in annotation_files(wildcards.get("dataset", "nextqa"), root, name)]


def own_annotations(wildcards):
    """Fingerprint of annotation files of the user's own; None where there are none."""
    files = [file for file in annotations_ready(wildcards) if not is_made(run_of(wildcards), file)]
    return fingerprint(files) if files else None


def own_videos(wildcards):
    """Names and sizes of the videos in a folder of the user's own, as a digest; None for what the graph makes."""
    root = data_root(wildcards)
    return None if is_made(run_of(wildcards), root) else video_digest(root)


def questions_expected(wildcards, resources):
    """How many questions a data set must hold; a check, and no part of what Snakemake compares."""
    dataset = wildcards.get("dataset", "nextqa")
    return run_of(wildcards)["benchmarks" if dataset in BENCHMARKS else "data"][dataset]["questions"]


def source_settings(wildcards, resources):
    """A source's entry as JSON. Takes the resources, so it is no part of what Snakemake compares."""
    return json.dumps(SOURCES[wildcards.source])


def fetched_by(wildcards):
    """What of a source's entry decides which files are fetched."""
    return {key: SOURCES[wildcards.source][key] for key in ("repo", "type", "revision", "files", "asked_by")}


def unpacked_by(wildcards):
    """What of a source's entry decides what is unpacked."""
    return SOURCES[wildcards.source]["archives"]


def delete_archives(wildcards, resources):
    """Whether archives go once they are unpacked, as JSON. Changing one's mind makes nothing again."""
    return json.dumps(RUNS[RUN]["delete_archives"])


def lock_of(wildcards):
    """Lock of a source; one that is there must be of the source as it is configured."""
    path = f"config/locks/{wildcards.source}.json"
    if wildcards.source not in UNLOCKED:
        try:
            Lock.load(path).check(Source.of(wildcards.source, SOURCES[wildcards.source]), path)
        except SourceError as error:
            raise WorkflowError(str(error)) from None
    return path


def given(wildcards, key):
    """Folder that a given arm takes its weights, its tokenizer or its processor from; None for none."""
    return path_of(wildcards, f"arms.{wildcards.arm}.{key}") if arm_of(wildcards).get(key) else None


def given_ready(wildcards):
    """What given weights are imported from: files of the user's own, or the last step that makes their folder."""
    found = []
    for key in ("weights", "tokenizer", "processor"):
        folder = given(wildcards, key)
        if folder and is_made(run_of(wildcards), folder):
            found.append(ready(wildcards, folder))
        elif folder:
            found += map(str, checkpoint_files(folder, key))
    return list(dict.fromkeys(found))


def own_weights_files(wildcards):
    """Fingerprint of the files of given weights that are the user's own; None where there are none."""
    files = [file for file in given_ready(wildcards) if not is_made(run_of(wildcards), file)]
    return fingerprint(files) if files else None


def given_weights(wildcards):
    """Folder of the weights."""
    return given(wildcards, "weights")


def given_tokenizer(wildcards):
    """Folder of the tokenizer, where the weights' own has none."""
    return given(wildcards, "tokenizer")


def given_processor(wildcards):
    """Folder of the processor's settings, where the weights' own has none."""
    return given(wildcards, "processor")


def checkpoint_of(wildcards, arm):
    """Weights of an arm: given and checked, or what its training writes."""
    settings = run_of(wildcards)
    arm = weights_arm(settings, arm)
    method = settings["arms"][arm]["method"]
    if method == "given":
        return f"results/{wildcards.run}/import_weights/{arm}/checkpoint"
    return f"results/{wildcards.run}/train_{method}/{arm}/seed{wildcards.seed}/checkpoint"


def own_weights(wildcards):
    """Weights that an arm answers with."""
    arm_of(wildcards)
    return checkpoint_of(wildcards, wildcards.arm)


def parent_weights(wildcards):
    """Weights that an arm's training starts from."""
    return checkpoint_of(wildcards, arm_of(wildcards)["parent"])
