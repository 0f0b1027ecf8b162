"""TRL's own way from conversations to packed rows: `SFTTrainer`'s preparation, with assistant masks and packing."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from suite.processes import keep_to
from suite.rounds import NotMeasuredError, Outcome


def prepare(source: str, path: str, template: str | None, max_length: int, processes: int) -> Outcome:
    """Time `SFTTrainer._prepare_dataset`: template and tokens, labels, packing by best-fit-decreasing.

    The trainer is made without a model, which its preparation does not look at, by giving an empty object the three
    attributes that it does look at. Importing, loading the tokenizer and reading JSON into a dataset are not in
    `seconds`; each is told by itself.
    """
    keep_to(processes)
    with tempfile.TemporaryDirectory() as cache:
        os.environ |= {"HF_DATASETS_CACHE": cache, "TOKENIZERS_PARALLELISM": "false"}
        begin = perf_counter()
        try:
            from trl import SFTConfig, SFTTrainer  # type: ignore[attr-defined]
        except ImportError as error:
            raise NotMeasuredError("trl is not installed") from error
        from datasets import Dataset, disable_progress_bars
        from transformers import AutoTokenizer

        disable_progress_bars()
        logging.disable(logging.WARNING)
        imported = perf_counter()
        processing_class = AutoTokenizer.from_pretrained(path)
        if template is not None:
            processing_class.chat_template = Path(template).read_text(encoding="utf-8")
        training_template = _training_template(processing_class)
        loaded = perf_counter()
        data = Dataset.from_json(source, cache_dir=cache)
        read = perf_counter()
        args = SFTConfig(
            output_dir=cache,
            report_to="none",
            use_cpu=True,
            bf16=False,
            max_length=max_length,
            packing=True,
            packing_strategy="bfd",
            assistant_only_loss=True,
            dataset_num_proc=processes if processes > 1 else None,
        )
        trainer = object.__new__(SFTTrainer)
        trainer._tokenizer, trainer.chat_template = processing_class, training_template
        trainer.completion_only_loss = False
        begin_work = perf_counter()
        packed = trainer._prepare_dataset(data, processing_class, args, True, None, "train")
        seconds = perf_counter() - begin_work
        tokens = sum(map(sum, packed["seq_lengths"]))
        figures = {
            "seconds": seconds,
            "import": imported - begin,
            "load": loaded - imported,
            "read": read - loaded,
            "tokens": tokens,
            "rows": len(packed),
            "fill": tokens / (len(packed) * max_length),
        }
        return Outcome(figures=figures)


def _training_template(processing_class: Any) -> str | None:
    """The template with marks around answers; None if the tokenizer's own has them, as `SFTTrainer` decides it."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if has_generation_markers(processing_class.chat_template):
        return None
    try:
        return str(get_training_chat_template(processing_class))
    except ValueError as error:
        raise NotMeasuredError("TRL knows no version of this chat template that marks answers") from error
