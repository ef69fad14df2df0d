"""`tunewright run`"""

from __future__ import annotations

from tunewright.cli.options import Json, Metrics, Overrides, RecipeFile


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    metric: Metrics = None,
    as_json: Json = False,
) -> None:
    """Train (or finish, or reuse), evaluate, write the report."""
    from pathlib import Path

    from rich.markup import escape

    from tunewright import pipeline
    from tunewright.checking import require_sound
    from tunewright.cli.screen import (
        TrainingScreen,
        comparison_lines,
        finding_lines,
        findings_table,
        make_console,
        print_json,
        said_in,
        scores_table,
        stage_progress,
    )
    from tunewright.config.load import load_recipe
    from tunewright.evaluate.run import check_metrics
    from tunewright.train.folder import is_begun

    console = make_console(quiet=as_json)
    loaded = load_recipe(recipe, overrides or ())
    with console.status("Reading the model and the data") as status:
        prepared = pipeline.prepare(loaded, progress=said_in(status))
    # Before hours of training, not after:
    check_metrics(metric or (), prepared.task)
    pipeline.require_held_out(prepared)
    found = None
    if not is_begun(Path(prepared.recipe.output_dir)):
        with console.status("Looking at the data"):
            found = pipeline.audit_prepared(prepared)
        if found["findings"]:
            console.print(findings_table(found["findings"]))
        require_sound(found, prepared.recipe.data.allow)
    with TrainingScreen(console) as screen:
        trained = pipeline.train_or_resume(prepared, screen, found, progress=screen.rows_prepared)
    with stage_progress(console) as progress:
        scores = pipeline.evaluate_run(trained.folder, progress, metric)
    report = pipeline.report_run(trained.folder)
    if as_json:
        print_json(
            {
                "output_dir": str(trained.folder),
                "results": trained.results,
                "evaluation": scores,
                "report": str(report.html),
            }
        )
        return
    console.print(scores_table(scores))
    for line in [*comparison_lines(scores), *finding_lines(scores)]:
        console.print(f"  {escape(line)}")
    console.print(f"The report is in {report.html}.")
