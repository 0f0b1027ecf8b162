"""Packs to files: Arrow shards, and the directory that appears only when it is whole."""

from ismpack.shards.arrow import write_shard
from ismpack.shards.hub_files import dataset_info, state
from ismpack.shards.staging import Staging, open_staging, repair

__all__ = ["Staging", "dataset_info", "open_staging", "repair", "state", "write_shard"]
