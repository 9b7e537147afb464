# From published files to questions and pixels.


rule make_world:
    output:
        nextqa=directory("results/{run}/make_world/nextqa"),
        coldstart=directory("results/{run}/make_world/coldstart"),
        video_mme=directory("results/{run}/make_world/video_mme"),
        mvbench=directory("results/{run}/make_world/mvbench"),
        mlvu=directory("results/{run}/make_world/mlvu"),
        mmvu=directory("results/{run}/make_world/mmvu"),
        truth="results/{run}/make_world/truth.jsonl",
        summary="results/{run}/make_world/world.json",
    log:
        "logs/{run}/make_world.log",
    benchmark:
        "results/{run}/benchmarks/make_world.tsv"
    wildcard_constraints:
        run=one_of(WORLDS),
    conda:
        "../../envs/video.yaml"
    threads: 2
    params:
        settings=setting("world"),
        seed=setting("seed"),
        code=code_digest("vidreason.world.layouts"),
    script:
        "../scripts/make_world.py"


rule filter_nextqa:
    input:
        ready=data_ready,
    output:
        train="results/{run}/questions/nextqa.jsonl",
        validation="results/{run}/questions/validation.jsonl",
        dropped="results/{run}/filter_nextqa/dropped.csv",
        clips="results/{run}/filter_nextqa/clips.jsonl",
        durations="results/{run}/filter_nextqa/durations.csv",
    log:
        "logs/{run}/filter_nextqa.log",
    benchmark:
        "results/{run}/benchmarks/filter_nextqa.tsv"
    conda:
        "../../envs/video.yaml"
    params:
        root=data_root,
        annotations=annotations_of,
        own_annotations=own_annotations,
        own_videos=own_videos,
        expected=questions_expected,
        max_seconds=setting("data/nextqa/max_seconds"),
        duration=setting("data/nextqa/duration"),
        frame_count=setting("frames/count"),
        validation_fraction=setting("data/nextqa/validation_fraction"),
        questions_limit=setting("data/nextqa/questions_limit"),
        seed=setting("seed"),
        code=code_digest("vidreason.data.nextqa"),
    script:
        "../scripts/filter_nextqa.py"


rule read_questions:
    input:
        ready=data_ready,
    output:
        questions="results/{run}/questions/{dataset}.jsonl",
    log:
        "logs/{run}/read_questions/{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/read_questions/{dataset}.tsv"
    wildcard_constraints:
        dataset=one_of({*DATASETS} - {"nextqa"}),
    conda:
        "../../envs/video.yaml"
    params:
        root=data_root,
        annotations=annotations_of,
        own_annotations=own_annotations,
        own_videos=own_videos,
        expected=questions_expected,
        protocol=reader_protocol,
        code=code_digest("vidreason.data.registry"),
    script:
        "../scripts/read_questions.py"


rule extract_frames:
    input:
        ready=root_ready,
        questions=questions_asked_about,
    output:
        frames="results/{run}/extract_frames/{dataset}/shard{shard}.parquet",
        clips="results/{run}/extract_frames/{dataset}/shard{shard}.clips.jsonl",
    log:
        "logs/{run}/extract_frames/{dataset}/shard{shard}.log",
    benchmark:
        "results/{run}/benchmarks/extract_frames/{dataset}/shard{shard}.tsv"
    conda:
        "../../envs/video.yaml"
    params:
        root=data_root,
        own_videos=own_videos,
        frame_count=setting("frames/count"),
        frame_size=setting("frames/size"),
        shards=setting("frames/shards/{dataset}"),
        code=code_digest("vidreason.media.frames"),
    script:
        "../scripts/extract_frames.py"
