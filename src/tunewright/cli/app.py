"""The `tunewright` command: its verbs, and how errors become messages and exit codes."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Sequence

import typer

from tunewright.cli import (
    check,
    compare,
    data,
    demo,
    env,
    evaluate,
    init,
    models,
    resume,
    run_recipe,
    train,
    watch,
)
from tunewright.errors import TunewrightError

app = typer.Typer(
    name="tunewright",
    help="Fine-tune language models end to end and prove every step.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # plain help: drawing it with rich takes longer than all the rest
)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("train")(train.train)
app.command("watch")(watch.watch)
app.command("resume")(resume.resume)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("run")(run_recipe.run)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.command("env")(env.env)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    # Libraries that tokenise in threads warn about every fork otherwise.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Libraries that transformers imports warn of kernels for other machines, and of each other.
    for name in ("torchao", "torch.utils._pytree", "bitsandbytes.backends.cpu.ops"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        app(args=list(arguments))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _failed("Stopped.", 1, arguments)
    except TunewrightError as error:
        return _failed(str(error), error.exit_code, arguments)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _failed(f"The disk is full: {error}. Free some room.", 2, arguments)
        if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError):
            message = f"{error.filename} cannot be used: {error.strerror}. Check the path."
            return _failed(message, 2, arguments)
        raise
    return 0


def _failed(message: str, code: int, arguments: Sequence[str]) -> int:
    """Print an error for a person on stderr, or for a machine as JSON on stdout."""
    if "--json" in arguments:
        typer.echo(json.dumps({"error": message, "exit_code": code}))
    else:
        typer.secho("error: ", fg=typer.colors.RED, bold=True, err=True, nl=False)
        typer.echo(message, err=True)
    return code
