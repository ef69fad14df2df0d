"""`tunewright resume`"""

from __future__ import annotations

from typing import Annotated

import typer

from tunewright.cli.options import Json


def resume(
    folder: Annotated[str, typer.Argument(help="Folder of a run that was stopped.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Other sizes of the same training, such as per_device_train_batch_size=2.",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Go on from this checkpoint-N folder; later ones are removed. Default: the "
            "newest whole one."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Finish a run that was stopped, as if it had never been stopped."""
    from pathlib import Path

    from tunewright import pipeline
    from tunewright.artifacts import Artifact
    from tunewright.cli.screen import TrainingScreen, make_console
    from tunewright.cli.train import show_result

    console = make_console(quiet=as_json)
    artifact = Artifact.open(Path(folder))
    if artifact.kind == "demo":
        from tunewright.cli.demo import demo
        from tunewright.errors import ConfigError

        if changes:
            raise ConfigError(f"{folder} is a demo, which has no sizes to change: {changes[0]!r}.")

        demo(folder, quick=artifact.config["quick"], as_json=as_json)
        return
    with TrainingScreen(console) as screen:
        result = pipeline.resume(folder, screen, checkpoint, screen.rows_prepared, changes or ())
    show_result(result, console, as_json)
