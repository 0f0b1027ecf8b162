"""The two JSON files from which `datasets.load_from_disk` knows a directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def dataset_info(columns: Mapping[str, str]) -> bytes:
    """dataset_info.json: the columns as `datasets` features.

    Args:
        columns: Column name -> element dtype.

    Source: `datasets.Features.to_dict`, version 4 and later.
    """
    features = {
        name: {"feature": {"dtype": dtype, "_type": "Value"}, "_type": "List"} for name, dtype in columns.items()
    }
    return _json({"citation": "", "description": "", "features": features, "homepage": "", "license": ""})


def state(shards: Sequence[str], fingerprint: str) -> bytes:
    """state.json: the data files and the fingerprint that `datasets` caches by.

    Source: `datasets.Dataset.save_to_disk`.
    """
    return _json(
        {
            "_data_files": [{"filename": name} for name in shards],
            "_fingerprint": fingerprint[:16],
            "_format_columns": None,
            "_format_kwargs": {},
            "_format_type": None,
            "_output_all_columns": False,
            "_split": None,
        }
    )


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
