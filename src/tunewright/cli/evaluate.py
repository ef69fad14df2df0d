"""`tunewright evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tunewright.cli.options import (
    BatchSize,
    Columns,
    Device,
    GroupSize,
    Json,
    Latency,
    MaxLength,
    MaxNewTokens,
    Metrics,
    Quantized,
    Samples,
    Slices,
    Task,
    column_mapping,
    require_quantized,
)
from tunewright.errors import ConfigError


def evaluate(
    model: Annotated[str, typer.Argument(help="A finished run, a model folder, or a name.")],
    data: Annotated[
        str | None,
        typer.Option(help="Rows to score. Default: the rows the run held out."),
    ] = None,
    metric: Metrics = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="Encoder of the metric bertscore. Default: all-minilm-l6-v2."),
    ] = None,
    passes: Annotated[
        str | None,
        typer.Option(
            "--pass",
            metavar="FILE.py:FUNCTION",
            help="Your function(row, answer) that says True where an answer passes.",
        ),
    ] = None,
    train_data: Annotated[
        str | None,
        typer.Option(help="Rows the model was tuned on, for baselines. Default: the run's own."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Measure the base and trivial baselines too.")
    ] = True,
    few_shot: Annotated[
        int,
        typer.Option(
            min=0, help="Show the base so many training rows before each row: one more baseline."
        ),
    ] = 0,
    slices: Slices = None,
    against: Annotated[
        str | None,
        typer.Option(help="An earlier model to compare with: what was fixed, what broke."),
    ] = None,
    forgetting: Annotated[
        bool,
        typer.Option(
            "--forgetting", help="Of models that write text: what tuning cost, by probes."
        ),
    ] = False,
    probe_pairs: Annotated[
        str | None,
        typer.Option(help="Minimal pairs of your own (columns good, bad) for --forgetting."),
    ] = None,
    probe_text: Annotated[
        str | None, typer.Option(help="General text of your own for --forgetting.")
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            help="A public benchmark of lm-eval, such as arc_easy, asked of the model and of its "
            "base; arc_easy#200 asks the first 200 questions. May be repeated."
        ),
    ] = None,
    benchmark_data: Annotated[
        str | None,
        typer.Option(help="Folder with the questions of benchmarks: NAME.jsonl, NAME/test.jsonl."),
    ] = None,
    benchmark_tasks: Annotated[
        str | None,
        typer.Option(help="Folder with benchmarks of your own, as YAML files of lm-eval."),
    ] = None,
    robustness: Annotated[
        bool,
        typer.Option(
            "--robustness", help="Score the rows with slips, in other case, without punctuation."
        ),
    ] = False,
    paraphraser: Annotated[
        str | None,
        typer.Option(
            help="A model that writes: --robustness in its words too, whose paraphrases are shown."
        ),
    ] = None,
    attribute: Annotated[
        int,
        typer.Option(
            min=0, help="Of so many of the worst errors, say which words moved the prediction."
        ),
    ] = 0,
    attribute_row: Annotated[
        list[int] | None,
        typer.Option(min=1, help="The same of this row, by its number. May be repeated."),
    ] = None,
    attribute_word: Annotated[
        int | None,
        typer.Option(min=1, help="Of entities, the word of --attribute-row whose tag is meant."),
    ] = None,
    human: Annotated[
        bool,
        typer.Option(
            "--human",
            help="Judge answers blind, beside those of --against or of the base. Goes on later.",
        ),
    ] = False,
    rate: Annotated[
        bool,
        typer.Option("--rate", help="With --human: rate answers one by one, 1 to 5."),
    ] = False,
    rater: Annotated[
        str | None, typer.Option(help="Who judges with --human. Default: rater.")
    ] = None,
    judge_url: Annotated[
        str | None,
        typer.Option(
            "--judge",
            metavar="URL",
            help="Let a model judge instead of people, in both orders: the base address of an "
            "endpoint of chat completions. Its key is taken from OPENAI_API_KEY.",
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="The name of the judging model at --judge.")
    ] = None,
    judge_timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that one reply of --judge may take. Default: 120."),
    ] = None,
    latency: Latency = 0,
    num_samples: Samples = None,
    batch_size: BatchSize = None,
    max_length: MaxLength = None,
    max_new_tokens: MaxNewTokens = 256,
    quantized: Quantized = None,
    group_size: GroupSize = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for evaluation.json and predictions.jsonl. With --human or --judge, of "
            "the votes; default: human or judge."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Markdown report to write; an HTML one is written beside it."),
    ] = None,
    task: Task = "auto",
    column: Columns = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score a model, with 95 % intervals and beside baselines."""
    from rich.markup import escape

    from tunewright import pipeline
    from tunewright.cli import human as session
    from tunewright.cli.screen import (
        comparison_lines,
        cost_line,
        finding_lines,
        make_console,
        print_json,
        scores_table,
        stage_progress,
    )
    from tunewright.evaluate.endpoint import SECONDS, Endpoint
    from tunewright.evaluate.judge import ask_judge
    from tunewright.evaluate.passes import load_passes

    console = make_console(quiet=as_json)
    if human and judge_url is not None:
        raise ConfigError("--human asks people and --judge a model; take one of them in a call.")
    if (judge_model or judge_timeout) is not None and judge_url is None:
        option = "--judge-timeout" if judge_model is None else "--judge-model"
        raise ConfigError(f"{option} is about the endpoint of a judge; it needs --judge URL.")
    if human or judge_url is not None:
        endpoint = None
        if judge_url is not None:
            seconds = SECONDS if judge_timeout is None else judge_timeout
            endpoint = Endpoint(judge_url, judge_model or "", seconds=seconds)
        _refuse_beside_votes(
            "--human" if human else "--judge",
            {
                "--metric": metric,
                "--encoder": encoder,
                "--pass": passes,
                "--train-data": train_data,
                "--no-baselines": not baselines,
                "--few-shot": few_shot,
                "--slice": slices,
                "--forgetting": forgetting,
                "--robustness": robustness,
                "--paraphraser": paraphraser,
                "--latency": latency,
                "--attribute": attribute,
                "--attribute-row": attribute_row,
                "--attribute-word": attribute_word,
                "--probe-pairs": probe_pairs,
                "--probe-text": probe_text,
                "--benchmark": benchmark,
                "--benchmark-data": benchmark_data,
                "--benchmark-tasks": benchmark_tasks,
                "--max-length": max_length,
                "--quantized": quantized,
                "--group-size": group_size,
                "--report": report,
                "--rater": None if human else rater,
                "--rate": rate and not human,
            },
        )
        folder = output or Path("human" if human else "judge")
        with stage_progress(console) as progress:
            rows = pipeline.human_answers(
                model,
                against,
                folder,
                data,
                task=task,
                columns=column_mapping(column),
                num_samples=num_samples,
                batch_size=batch_size,
                max_new_tokens=max_new_tokens,
                device=device,
                progress=progress,
            )
            if endpoint is not None:
                decided = ask_judge(endpoint, rows, folder, progress)
        if endpoint is not None:
            if as_json:
                print_json(decided)
            else:
                session.say_judge(decided, folder, console)
            return
        ask, say = (
            (session.rate, session.say_ratings) if rate else (session.judge, session.say_result)
        )
        judged = ask(folder, rows, rater or "rater", console, as_json)
        if as_json:
            print_json(judged or {"votes": {}})
        else:
            say(judged, folder, console)
        return
    if rate:
        raise ConfigError("--rate asks people to rate answers; it needs --human.")
    if rater is not None:
        raise ConfigError("--rater names who judges; it needs --human.")
    require_quantized(quantized, group_size)
    with stage_progress(console) as progress:
        found = pipeline.evaluate_model(
            model,
            data,
            task=task,
            columns=column_mapping(column),
            num_samples=num_samples,
            train_source=train_data,
            output_dir=output,
            progress=progress,
            metrics=metric,
            encoder=encoder,
            with_baselines=baselines,
            few_shot=few_shot,
            slices=slices,
            against=against,
            passes=load_passes(passes) if passes else None,
            forgetting=forgetting,
            robustness=robustness,
            paraphraser=paraphraser,
            latency=latency,
            attribute=attribute,
            attribute_to_rows=attribute_row or (),
            attribute_word=attribute_word,
            probe_pairs=probe_pairs,
            probe_text=probe_text,
            benchmarks=benchmark,
            benchmark_data=benchmark_data,
            benchmark_tasks=benchmark_tasks,
            batch_size=batch_size,
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            device=device,
            quantized=quantized,
            quantized_group_size=group_size,
        ).to_dict()
    if report is not None:
        from tunewright.evaluate.report import write_comparison

        write_comparison([found], report)
    if as_json:
        print_json(found)
        return
    console.print(scores_table(found))
    for line in [
        *comparison_lines(found), *finding_lines(found), *found["notes"], cost_line(found),
    ]:  # fmt: skip
        console.print(f"  {escape(line)}")
    if report is not None:
        console.print(f"The report is in {report}.")


def _refuse_beside_votes(mode: str, options: dict[str, object]) -> None:
    """Refuse options that a session of judging has no use for."""
    given = [name for name, value in options.items() if value]
    if given:
        raise ConfigError(
            f"{mode} has answers judged and measures nothing else, so {given[0]} has no meaning "
            "beside it. Leave it out, or evaluate in a call of its own."
        )
