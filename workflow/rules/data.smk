# From published files to questions and pixels.


rule make_world:
    output:
        [directory(f"{paths.WORLD}/{dataset}") for dataset in WORLD_DATASETS],
        truth=paths.TRUTH,
        summary=paths.WORLD_SUMMARY,
    log:
        paths.log("make_world"),
    benchmark:
        paths.cost("make_world")
    wildcard_constraints:
        run=one_of(WORLDS),
    conda:
        "../../envs/video.yaml"
    threads: 2
    params:
        settings=setting("world"),
        seed=setting("seed"),
        code=code_digest(*registered.modules_with("vidreason.world.write", *WORLD_DATASETS)),
    script:
        "../scripts/make_world.py"


rule filter_questions:
    input:
        ready=of_run(prerequisites.questions_ready, "dataset"),
    output:
        train=paths.QUESTIONS,
        validation=paths.VALIDATION,
        dropped=paths.filtered("dropped.csv"),
        clips=paths.filtered("clips.jsonl"),
        durations=paths.filtered("durations.csv"),
    log:
        paths.log("filter_questions"),
    benchmark:
        paths.cost("filter_questions")
    wildcard_constraints:
        dataset=one_of(REGISTERED.filtered),
    conda:
        "../../envs/video.yaml"
    params:
        root=of_run(Run.root, "dataset"),
        annotations=of_run(Run.annotations, "dataset"),
        own_annotations=of_run(prerequisites.own_annotations, "dataset"),
        own_videos=of_run(prerequisites.own_videos, "dataset"),
        expected=uncompared(setting("datasets.{dataset}.questions")),
        filter=setting("datasets.{dataset}.filter"),
        protocol=of_run(registered.reader_protocol, "dataset"),
        frame_count=setting("frames.count"),
        seed=setting("seed"),
        code=of_run(registered.code, "dataset", module="vidreason.data.filter_questions"),
    script:
        "../scripts/filter_questions.py"


rule read_questions:
    input:
        ready=of_run(prerequisites.questions_ready, "dataset"),
    output:
        questions=paths.QUESTIONS,
        dropped=paths.SET_ASIDE,
    log:
        paths.log("read_questions"),
    benchmark:
        paths.cost("read_questions")
    wildcard_constraints:
        dataset=one_of({*REGISTERED.datasets} - {*REGISTERED.filtered}),
    conda:
        "../../envs/video.yaml"
    params:
        root=of_run(Run.root, "dataset"),
        annotations=of_run(Run.annotations, "dataset"),
        own_annotations=of_run(prerequisites.own_annotations, "dataset"),
        own_videos=of_run(prerequisites.own_videos, "dataset"),
        expected=uncompared(setting("datasets.{dataset}.questions")),
        protocol=of_run(registered.reader_protocol, "dataset"),
        code=of_run(registered.code, "dataset", module="vidreason.data.registry"),
    script:
        "../scripts/read_questions.py"


rule extract_frames:
    input:
        ready=of_run(prerequisites.root_ready, "dataset"),
        questions=of_run(job_inputs.decoded_questions, "dataset"),
    output:
        frames=paths.FRAMES,
        clips=paths.CLIPS,
    log:
        paths.log("extract_frames"),
    benchmark:
        paths.cost("extract_frames")
    conda:
        "../../envs/video.yaml"
    params:
        root=of_run(Run.root, "dataset"),
        own_videos=of_run(prerequisites.own_videos, "dataset"),
        frame_count=setting("frames.count"),
        frame_size=setting("frames.size"),
        shards=setting("datasets.{dataset}.shards.frames"),
        code=code_digest("vidreason.media.extract_frames"),
    script:
        "../scripts/extract_frames.py"
