"""`tunewright env`"""

from __future__ import annotations

from tunewright.cli.options import Json


def env(as_json: Json = False) -> None:
    """Show versions and hardware, for a bug report."""
    import torch

    from tunewright.artifacts import environment
    from tunewright.cli.screen import make_console, print_json
    from tunewright.download import cache_folder
    from tunewright.models.device import pick_device

    found = environment() | {
        "device": str(pick_device()),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cache": str(cache_folder()),
    }
    if as_json:
        print_json(found)
        return
    console = make_console()
    for key, value in found.items():
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        elif isinstance(value, list):
            value = ", ".join(value) or "none"
        elif key == "memory_bytes":
            key, value = "memory", f"{value / 1e9:.1f} GB"
        console.print(f"[cyan]{key:12}[/] {value}", soft_wrap=True)
