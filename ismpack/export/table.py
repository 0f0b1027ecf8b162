"""All targets, by name."""

from __future__ import annotations

from ismpack.export import axolotl, llama_factory, mds, megatron_bridge, olmo_core, torchtune, xtuner
from ismpack.export.job import Target

TARGETS: dict[str, Target] = {
    module.TARGET.name: module.TARGET
    for module in (megatron_bridge, olmo_core, xtuner, llama_factory, axolotl, torchtune, mds)
}
"""What `--to` takes, and the target that it names."""
