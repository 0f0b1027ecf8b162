"""Reads an export with LLaMA-Factory's own loader and collator, for sdpa and for FlashAttention."""

import numpy as np
import torch
import transformers  # noqa: F401 - before the stand-in, which it would take for an installed torchaudio
import yaml
from expected import absent, block_causal, read, word_tokenizer

absent("torchaudio")

from llamafactory.data import get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.data.collator import SFTDataCollatorWith4DAttentionMask  # noqa: E402
from llamafactory.data.loader import get_dataset  # noqa: E402
from llamafactory.hparams import DataArguments  # noqa: E402


def main() -> None:
    expected = read()
    given = yaml.safe_load(expected.how_to_load)
    arguments = DataArguments(
        template="empty", **{name: given[name] for name in ("dataset", "tokenized_path", "neat_packing", "cutoff_len")}
    )
    tokenizer = word_tokenizer(expected.largest_id)
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    rows = get_dataset(template, None, arguments, None, stage="sft", tokenizer=tokenizer)["train_dataset"]
    assert len(rows) == len(expected.rows)
    sdpa, flash = (collator(template, tokenizer, kind) for kind in ("sdpa", "flash_attention_2"))
    for row in range(len(rows)):
        documents = expected.documents(row)
        lengths = [len(document.ids) for document in documents]
        total = sum(lengths)
        wanted = {
            "input_ids": [i for document in documents for i in document.ids],
            "labels": [i for document in documents for i in document.labels],
            "position_ids": [i for length in lengths for i in range(length)],
        }
        dense = sdpa([rows[row]])
        packed = flash([rows[row]])
        assert packed["attention_mask"] is None
        for name, values in wanted.items():
            assert packed[name].tolist() == [values]  # padding is cut off again
            assert dense[name][0][:total].tolist() == values
        assert (dense["labels"][0][total:] == -100).all()
        seen = (dense["attention_mask"][0, 0] == 0).numpy()
        assert np.array_equal(seen[:total, :total], block_causal(lengths))
        assert not seen[:total, total:].any()
    width = -(-max(len(row["input_ids"]) for row in expected.rows) // 8) * 8
    together = sdpa([rows[row] for row in range(len(rows))])
    assert {value.shape[1] for name, value in together.items() if name != "attention_mask"} == {width}


def collator(template: object, tokenizer: object, attention: str) -> SFTDataCollatorWith4DAttentionMask:
    return SFTDataCollatorWith4DAttentionMask(
        template=template,
        tokenizer=tokenizer,
        pad_to_multiple_of=8,
        label_pad_token_id=-100,
        block_diag_attn=True,
        neat_packing=True,
        attn_implementation=attention,
        compute_dtype=torch.float32,
    )


if __name__ == "__main__":
    main()
