"""Kill runs at random moments, plant faults into others, and look at how they end.

    python bench/stress.py [--kills 100] [--faults 30] [--quick] [--json]
    python bench/stress.py --kills 1 --faults 0 --seed 1042

A run is killed with SIGKILL, once or up to four times, by the clock or before a change of a file
that is drawn by lot, and finished with `tunewright resume`. All its bytes, losses, rates and
gradient norms must be those of a run that was not disturbed. A fault is planted into a run, which
must end with a loss that other seeds have too. Every tenth run goes through processes of its own,
the others through forks of this one. A run follows from its seed, which is printed where it fails;
a kill by the clock does not come in quite the same place again. The last line is one JSON object:
`{"figures": {...}, "machine": {...}}`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before PyTorch: its threads do not survive a fork
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

sys.path.insert(0, str(Path(__file__).resolve().parent))
from forked import (
    Ended,
    Plan,
    after,
    begin,
    counted_changes,
    end,
    forked,
    import_everything,
    in_process,
    killed_at_change,
    log_of,
)
from stress_cases import (
    CASES,
    RECIPE,
    RUN,
    differences,
    leave_rows_on_disk,
    stage,
    write_bases,
    write_recipe,
)

from data import Figures, figure
from tunewright.artifacts import environment

MAX_KILLS = 4
"""Of one run."""
TRAIN, RESUME = ["train", RECIPE], ["resume", RUN]


@dataclass(frozen=True)
class Whole:
    """An undisturbed run of a case: where it is, seconds, and how often it changed a file."""

    folder: Path
    seconds: float
    changes: int


@dataclass
class Killed:
    """What became of a killed run.

    Attributes:
        seed, case, way: of it.
        stages: where it was each time it was killed.
        wrong: what is not as in the undisturbed run.
    """

    seed: int
    case: str
    way: str
    stages: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Bench:
    """The undisturbed runs, made when one is first asked for, in a folder of their own.

    Args:
        folder: empty.
        quick: some of the cases, and no processes of their own.
    """

    def __init__(self, folder: Path, quick: bool = False) -> None:
        self.folder, self.quick = folder, quick
        self.cases = list(CASES)[:3] if quick else list(CASES)
        self._whole: dict[str, Whole] = {}
        self.process_seconds: float | None = None
        write_bases(folder)

    def plan(self, name: str, then: Plan | None = None) -> Plan:
        """What a child does before a run of a case."""

        def install() -> None:
            if CASES[name].on_disk:
                leave_rows_on_disk()
            if then is not None:
                then()

        return install

    def write(self, name: str, folder: Path) -> None:
        """Write the recipe of a case into `folder`."""
        write_recipe(CASES[name], self.folder, folder, **({"max_steps": 6} if self.quick else {}))

    def whole(self, name: str) -> Whole:
        """The undisturbed run of a case."""
        if name not in self._whole:
            folder, counter = self.folder / f"whole-{name}", self.folder / f"changes-{name}"
            self.write(name, folder)
            ended = forked(TRAIN, folder, self.plan(name, counted_changes(folder, counter)))
            if ended.code:
                raise SystemExit(f"{name} does not run:\n{(folder / 'log').read_text()[-3000:]}")
            self._whole[name] = Whole(folder, ended.seconds, int(counter.read_text()))
        return self._whole[name]

    def seconds_in_process(self, name: str) -> float:
        """Seconds of a run in a process of its own, from its first manifest on."""
        if self.process_seconds is None:
            folder = self.folder / "timed"
            self.write(name, folder)
            there: list[float] = []
            written = at_work(folder)

            def seen() -> bool:
                if not there and written():
                    there.append(time.monotonic())
                return False

            began = time.monotonic()
            ended = in_process(TRAIN, folder, seen)
            self.process_seconds = began + ended.seconds - there[0]
        return self.process_seconds


def at_work(folder: Path) -> Callable[[], bool]:
    """Whether a process that starts now has written the manifest of its run in `folder`."""
    manifest = folder / RUN / "manifest.json"
    before = manifest.stat().st_mtime_ns if manifest.is_file() else None
    return lambda: manifest.is_file() and manifest.stat().st_mtime_ns != before


def kill(bench: Bench, seed: int) -> Killed:
    """Kill a run at random moments, let it finish, and compare it."""
    noise = random.Random(seed)
    through_processes = seed % 10 == 9 and not bench.quick
    names = [n for n in bench.cases if not (through_processes and CASES[n].on_disk)]
    name = names[(seed // 10 if through_processes else seed) % len(names)]
    way = "processes" if through_processes else noise.choice(("clock", "changes"))
    whole = bench.whole(name)
    folder = bench.folder / f"killed-{seed}"
    found = Killed(seed, name, way)
    kills = 1
    while kills < (1 if bench.quick else MAX_KILLS) and noise.random() < 0.5:
        kills += 1
    bench.write(name, folder)
    ended = Ended(-9, 0.0)
    while ended.code:
        # Where there is no manifest, nothing was begun, and there is nothing to resume.
        begun = (folder / RUN / "manifest.json").is_file()
        arguments = RESUME if begun else TRAIN
        if len(found.stages) == kills:
            ended = in_process(arguments, folder) if through_processes else forked(
                arguments, folder, bench.plan(name)
            )  # fmt: skip
            if ended.code:
                found.wrong.append(f"exit code {ended.code} of {arguments[0]}")
                return found
            break
        if through_processes:
            wait = after(noise.random() * bench.seconds_in_process(name), at_work(folder))
            ended = in_process(arguments, folder, wait)
        elif way == "clock":
            wait = after(noise.random() * whole.seconds)
            ended = end(begin(arguments, folder, bench.plan(name)), wait)
        else:
            number = noise.randint(1, whole.changes)
            ended = forked(arguments, folder, bench.plan(name, killed_at_change(folder, number)))
        if ended.killed:
            found.stages.append(stage(folder))
        elif ended.code:
            found.wrong.append(f"exit code {ended.code} of {arguments[0]}")
            return found
        elif not found.stages:  # it was faster than its killer
            shutil.rmtree(folder)
            bench.write(name, folder)
            ended = Ended(-9, 0.0)
    found.wrong += differences(folder, whole.folder)
    return found


def kills(bench: Bench, seeds: Sequence[int], say: Callable[[str], None]) -> Figures:
    """Kill a run with each seed."""
    began = time.monotonic()
    runs = []
    for seed in seeds:
        runs.append(kill(bench, seed))
        one = runs[-1]
        end = "bit-exact" if not one.wrong else f"DIFFERENT in {', '.join(one.wrong[:9])}"
        say(f"kill {one.seed:5} {one.case:20} {one.way:9} {', '.join(one.stages)}: {end}")
        folder = bench.folder / f"killed-{seed}"
        if one.wrong:
            print(f"--kills 1 --faults 0 --seed {seed}: {one}", file=sys.stderr)
            log = log_of(folder)
            print(log.read_text()[-2000:] if log.is_file() else "", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
    if not runs:
        return {}
    places = Counter(place for one in runs for place in one.stages)
    say(f"{sum(places.values())} kills: {dict(places)}, {time.monotonic() - began:.0f} s")
    exact = sum(not one.wrong for one in runs)
    through = [one for one in runs if one.way == "processes"]
    return {
        "killed_runs": figure(len(runs), None, "higher"),
        "killed_runs_bit_exact": figure(exact, len(runs), "higher"),
        "killed_runs_bit_exact_through_processes": figure(
            sum(not one.wrong for one in through), len(through), "higher"
        ),
        "kills": figure(sum(places.values()), None, "higher"),
    } | {
        f"kills_{place.replace(' ', '_')}": figure(count, None, "higher")
        for place, count in sorted(places.items())
    }


def faults(bench: Bench, seeds: Sequence[int], noise: int, say: Callable[[str], None]) -> Figures:
    """Plant a fault into a run with each seed; `noise` undisturbed runs tell what seeds change."""
    from stress_faults import NOISY, Faults

    if not seeds:
        return {}
    planted = Faults(bench, noise)
    found: Figures = {}
    bound = float("inf")
    if set(planted.kinds) & set(NOISY):
        bound, losses = planted.bound(len(seeds)), planted.losses()
        said = ", ".join(f"{loss:.4f}" for loss in sorted(losses))
        say(f"undisturbed losses: {said}; bound {bound:.4f}")
        found["undisturbed_loss"] = figure(sum(losses) / len(losses), None, "lower", losses)
    runs = []
    for seed in seeds:
        one = planted.run(seed)
        if one.loss is not None and one.loss > bound:
            one.wrong.append(f"a loss of {one.loss:.4f}")
        end = "bit-exact" if one.loss is None else f"loss {one.loss:.4f}"
        say(f"fault {seed:5} {one.kind:10} {one.where}: {', '.join(one.wrong) or end}")
        if one.wrong:
            print(f"--kills 0 --faults 1 --seed {seed}: {one}", file=sys.stderr)
        runs.append(one)
    shown = [one.loss for one in runs if one.loss is not None]
    found |= {
        "faults": figure(len(runs), None, "higher"),
        "faults_survived": figure(sum(not one.wrong for one in runs), len(runs), "higher"),
    }
    if shown:
        found["highest_loss_with_fault"] = figure(max(shown), bound, "lower", shown)
    for kind in planted.kinds:
        ended = [not one.wrong for one in runs if one.kind == kind]
        found[f"faults_survived_{kind}"] = figure(sum(ended), len(ended), "higher")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, metavar="N", help="runs; default: 100, quick 10")
    parser.add_argument("--faults", type=int, metavar="N", help="runs; default: 30, quick 3")
    parser.add_argument("--seed", type=int, default=1000, help="of the first run; default: 1000")
    parser.add_argument(
        "--quick", action="store_true", help="few runs, and no faults that a loss must tell"
    )
    parser.add_argument("--json", action="store_true", help="print only the last line")
    options = parser.parse_args(arguments)
    number = options.kills if options.kills is not None else (10 if options.quick else 100)
    faulty = options.faults if options.faults is not None else (3 if options.quick else 30)
    say = (lambda *_: None) if options.json else (lambda text: print(text, flush=True))
    import_everything()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), options.quick)
        figures |= kills(bench, range(options.seed, options.seed + number), say)
        seeds = range(options.seed, options.seed + faulty)
        figures |= faults(bench, seeds, 12, say)
    if not options.json:
        for key, found in figures.items():
            print(f"{key:52} {found['value']:>12,} goal {found['goal']}")
    print(json.dumps({"figures": figures, "machine": environment()}))


if __name__ == "__main__":
    main()
