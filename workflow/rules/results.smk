# From scores to tables, figures and the report. Tables and figures are registered in src/vidreason/results/registry.py; what the
# rules read and are set to is in src/vidreason/results/jobs/inputs.py, from where `make tables` takes it too.


rule make_tables:
    input:
        unpack(of_run(results.table_inputs)),
    output:
        **{
            table.name: report(table.path, caption=f"../report/{table.caption}.rst", category="Tables")
            for table in TABLES
        },
    log:
        paths.log("make_tables"),
    benchmark:
        paths.cost("make_tables")
    conda:
        "../../envs/tables.yaml"
    params:
        settings=of_run(results.table_settings),
    script:
        "../scripts/make_tables.py"


rule make_figures:
    input:
        unpack(of_run(results.figure_inputs)),
    output:
        **{
            figure.name: report(figure.path, caption=f"../report/{figure.caption}.rst", category="Figures")
            for figure in FIGURES
        },
    log:
        paths.log("make_figures"),
    benchmark:
        paths.cost("make_figures")
    conda:
        "../../envs/tables.yaml"
    params:
        settings=of_run(results.figure_settings),
    script:
        "../scripts/make_figures.py"


rule make_thumbnails:
    input:
        unpack(of_run(results.thumbnail_inputs)),
    output:
        thumbnails=directory(paths.THUMBNAILS),
    log:
        paths.log("make_thumbnails"),
    benchmark:
        paths.cost("make_thumbnails")
    conda:
        "../../envs/video.yaml"
    params:
        settings=of_run(results.thumbnail_settings),
    script:
        "../scripts/make_thumbnails.py"


rule report:
    input:
        unpack(of_run(results.report_inputs)),
    output:
        page=paths.REPORT,
        gallery=directory(paths.GALLERY),
    log:
        paths.log("report"),
    benchmark:
        paths.cost("report")
    conda:
        "../../envs/video.yaml"
    params:
        settings=of_run(results.report_settings),
    script:
        "../scripts/report.py"


rule write_card:
    input:
        unpack(of_run(results.card_inputs, "arm", "seed")),
    output:
        card=paths.CARD,
    log:
        paths.log("write_card"),
    benchmark:
        paths.cost("write_card")
    conda:
        "../../envs/tables.yaml"
    params:
        settings=of_run(results.card_settings, "arm", "seed"),
    script:
        "../scripts/write_card.py"
