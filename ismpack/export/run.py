"""`export`: a dataset rewritten as another trainer's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ismpack import __version__
from ismpack.errors import DatasetError, InternalError, UsageError
from ismpack.export.folder import MARK, new_folder
from ismpack.export.job import Job, Target
from ismpack.export.table import TARGETS
from ismpack.reader import PackedDataset, load


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written, and what the trainer will make of it.

    Attributes:
        target: Name of the target.
        project: The project and version whose reader the files are for.
        output: The folder, as given.
        rows: Rows of the dataset.
        documents: Documents in them.
        tokens: Tokens in them, without padding.
        loss_tokens: Targets among them.
        packing: `ours` if the trainer takes our rows as they are, `theirs` if it packs the documents itself.
        files: Names inside the folder, sorted.
        lost: What the dataset says and the trainer will not do, one sentence each.
        how_to_load: The lines that load it.
    """

    target: str
    project: str
    output: str
    rows: int
    documents: int
    tokens: int
    loss_tokens: int
    packing: str
    files: tuple[str, ...]
    lost: tuple[str, ...]
    how_to_load: str

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {"schema": "ismpack.export/1", **asdict(self)}

    def __str__(self) -> str:
        head = (
            f"{self.output}: {self.rows:,} rows, {self.documents:,} documents, {self.tokens:,} tokens, "
            f"{self.loss_tokens:,} of them targets, in {len(self.files)} files for {self.project}"
        )
        notes = [f"  note           {sentence}" for sentence in self.lost]
        return "\n".join([head, *notes, "", self.how_to_load])


def export(directory: str | Path, target: str, out: str | Path, *, overwrite: bool = False) -> ExportReport:
    """Rewrite a dataset as another trainer's files.

    The folder appears when it is complete, or not at all. The same dataset gives the same bytes. Memory stays bounded:
    rows pass by in the batches in which the shards store them.

    Args:
        directory: The dataset.
        target: A key of `TARGETS`.
        out: The folder to write; must not exist, be empty, or (with `overwrite`) hold an earlier export and nothing
            else.
        overwrite: Replace an earlier export, once the new one is complete.

    Raises:
        UsageError: `bad-option`: there is no such target; `output-inside-input`.
        OutputError: `output-exists`, `output-locked`, `output-unwritable`.
        DatasetError: `export-impossible`: the other format cannot hold this dataset; and those of `load`.
    """
    chosen = _target(target)
    place = Path(out)
    dataset = load(directory)
    if not len(dataset):
        raise DatasetError(f"{directory} holds no rows", code="export-impossible")
    with new_folder(place, dataset.directory, overwrite=overwrite) as folder:
        job = Job(dataset, folder, place)
        further = chosen.write(job)
        report = _report(job, chosen, further, str(out))
        _mark(folder, report, chosen, dataset)
    return report


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(
            f"there is no export target {name!r}", code="bad-option", hint=f"Targets: {', '.join(TARGETS)}."
        )
    return TARGETS[name]


def _report(job: Job, target: Target, further: tuple[str, ...], out: str) -> ExportReport:
    if job.tally.rows != len(job.dataset):
        raise InternalError(f"{target.name} wrote {job.tally.rows} of {len(job.dataset)} rows")
    names = {path.relative_to(job.folder).as_posix() for path in job.folder.rglob("*") if path.is_file()}
    return ExportReport(
        target=target.name,
        project=target.project,
        output=out,
        **asdict(job.tally),
        packing=target.packing,
        files=tuple(sorted({*names, MARK})),
        lost=(*target.lost, *further),
        how_to_load=target.how_to_load(out, job.max_length),
    )


def _mark(folder: Path, report: ExportReport, target: Target, dataset: PackedDataset) -> None:
    """Write what the folder is; paths stay out of it, so that its bytes follow from the dataset alone."""
    content: Mapping[str, Any] = {
        **{key: value for key, value in report.to_json().items() if key not in ("output", "how_to_load")},
        "created_by": f"ismpack {__version__}",
        "dataset": dataset.manifest.digest,
        "leaves": target.leaves,
    }
    text = json.dumps(content, sort_keys=True, indent=1) + "\n"
    (folder / MARK).write_text(text, encoding="utf-8")
