"""Exports, read by the trainers themselves: `python tests/trainers/check.py [TARGET...]`.

For each target: a virtual environment with the project from the package index, three datasets exported (one to a path
with spaces), and a script that runs in that environment, reads them with the project's own classes, and compares every
token, label, position and document boundary. Needs the network and some gigabytes; kept out of the test suite for that.
Environments stay in --environments and are used again.

xtuner is missing: its releases do not have the reader. Its layout is tested in tests/test_export.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import click

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE.parent))

from dataset_builder import Builder  # noqa: E402 - a module of the tests, beside this folder

from ismpack import convert, load  # noqa: E402
from ismpack.export import export  # noqa: E402

COLUMNS = ("input_ids", "segment_type_ids", "turn_ids", "loss_mask", "seq_lengths", "source_ids")


@dataclass(frozen=True)
class Environment:
    """What is installed for one target.

    Attributes:
        packages: Installed with what they depend on.
        alone: Installed without: projects that ask for CUDA libraries, or for a newer Python, than reading takes.
    """

    packages: tuple[str, ...]
    alone: tuple[str, ...] = field(default=())


TORCH = "torch==2.13.0"
ENVIRONMENTS = {
    "megatron-bridge": Environment(
        (TORCH, "triton", "datasets", "pyarrow", "transformers>=5.8,<=5.12.1", "omegaconf", "packaging", "einops", "regex"),
        ("megatron-bridge==0.6.2", "megatron-core==0.19.2"),
    ),
    "olmo-core": Environment((TORCH, "ai2-olmo-core==3.0.0")),
    "llama-factory": Environment(
        (
            TORCH, "transformers<=5.6.0", "datasets<=4.0.0", "peft<=0.18.1", "accelerate<=1.11.0", "trl<=0.24.0",
            "einops", "av<=16.0.0", "fire", "omegaconf", "pillow", "sentencepiece",
        ),
        ("llamafactory==0.9.5",),
    ),
    "axolotl": Environment(
        (
            TORCH, "transformers==5.16.1", "datasets==4.8.4", "accelerate==1.13.0", "peft==0.20.0", "trl==1.9.0",
            "pydantic==2.12.5", "addict", "fire", "PyYAML", "einops", "colorama", "numba", "scipy", "evaluate", "psutil",
            "posthog", "python-dotenv",
        ),
        ("axolotl==0.19.0",),
    ),
    "torchtune": Environment((TORCH, "torchtune==0.6.1", "torchao==0.10.0", "msgspec")),
    "mds": Environment(
        (TORCH, "numpy<2.2", "transformers<5", "brotli", "python-snappy", "zstd", "xxhash<4", "catalogue", "boto3", "matplotlib"),
        ("mosaicml-streaming==0.13.0",),
    ),
}  # fmt: skip


def python_of(target: str, folder: Path) -> Path:
    """The interpreter of a target's environment, which is made if it does not stand there complete."""
    environment, python = ENVIRONMENTS[target], folder / target / "bin" / "python"
    stamp = folder / target / "complete.json"
    wanted = json.dumps([environment.packages, environment.alone])
    if not stamp.is_file() or stamp.read_text() != wanted:
        run([sys.executable, "-m", "venv", "--clear", str(folder / target)])
        run([str(python), "-m", "pip", "install", "-q", *environment.packages])
        if environment.alone:
            run(
                [str(python), "-m", "pip", "install", "-q", "--no-deps", "--ignore-requires-python", *environment.alone]
            )
        stamp.write_text(wanted)
    return python


def datasets(folder: Path) -> list[Path]:
    """One written by hand with every odd thing in it, and two converted from the sample data."""
    made = [Builder(folder / "by-hand").write().directory]
    sample = REPOSITORY / "sample_data"
    for name, packing in (("converted", "bfd"), ("one per row", "none")):
        made.append(folder / name)
        convert(
            [str(sample / "chat.jsonl")],
            str(made[-1]),
            tokenizer=str(sample / "tokenizer"),
            max_length=512,
            packing=packing,
        )
    return made


def expectation(directory: Path, how_to_load: str) -> str:
    """What the reader must find, as JSON."""
    dataset = load(directory)
    rows = [{name: getattr(pack, name).tolist() for name in COLUMNS} for pack in dataset]
    manifest = dataset.manifest
    return json.dumps(
        {
            "rows": rows,
            "max_length": manifest.options["max_length"],
            "stop_ids": manifest.stop_ids,
            "largest_id": manifest.largest_id,
            "how_to_load": how_to_load,
        }
    )


def run(command: list[str]) -> None:
    """Run a command; stop with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command[:6])} failed:\n{(done.stdout + done.stderr)[-4000:]}")


@click.command()
@click.argument("targets", nargs=-1, type=click.Choice(sorted(ENVIRONMENTS)))
@click.option(
    "--environments", default="build/trainer-environments", type=click.Path(path_type=Path), show_default=True
)
def main(targets: tuple[str, ...], environments: Path) -> None:
    """Read exports with the trainers' own classes."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        sources = datasets(work)
        for target in targets or ENVIRONMENTS:
            python = python_of(target, environments.resolve())
            for source in sources:
                out = work / f"{source.name}-{target}"
                report = export(source, target, out)
                expected = work / f"{out.name}.json"
                expected.write_text(expectation(source, report.how_to_load))
                script = HERE / f"read_{target.replace('-', '_')}.py"
                run(
                    [
                        "env",
                        f"PYTHONPATH={REPOSITORY}",
                        str(python),
                        "-W",
                        "ignore",
                        str(script),
                        str(out),
                        str(expected),
                    ]
                )
                click.echo(
                    f"{target}: {report.project} reads {source.name}: {report.rows} rows, {report.tokens} tokens"
                )


if __name__ == "__main__":
    main()
