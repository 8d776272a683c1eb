"""Small data sets of texts and prices, and a small real encoder in a folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

GOOD = ("fine", "moving", "funny", "warm", "bright")
BAD = ("dull", "boring", "weak", "cold", "flat")
OTHERS = ("film", "plot", "actor", "scene", "story", "music", "ending", "the", "with", "and")


def write_reviews(path: Path, count: int = 60, seed: int = 0, words: Sequence[str] = OTHERS) -> Path:
    """`sentence<TAB>label` lines without a header, as SST-2 comes; a quote here and there is a character."""
    random = np.random.default_rng(seed)
    lines = []
    for row in range(count):
        label = row % 2
        marks = random.choice(GOOD if label else BAD, 2).tolist()
        text = [*marks, *random.choice(list(words), 6).tolist()]
        random.shuffle(text)
        lines.append(f'{" ".join(text)} "{row}\t{label}')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def write_diamonds(path: Path, count: int = 120, *, text: bool = False) -> Path:
    """A CSV of two numbers, a category and maybe a text, with a price that follows from them."""
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["carat", "cut", "depth", "price", *(["title"] if text else [])])
        for _ in range(count):
            carat, cut, depth = (
                random.uniform(0.2, 2),
                str(random.choice(["Fair", "Good", "Ideal"])),
                random.normal(60, 2),
            )
            price = round(4000 * carat**1.5 * (1 + 0.2 * (cut == "Ideal")), 2)
            title = [f"a {cut} stone of the {random.choice(OTHERS)} and {random.choice(GOOD)}"] if text else []
            writer.writerow([f"{carat:.3f}", cut, f"{depth:.2f}", price, *title])
    return path


def save_encoder(folder: Path, kind: str = "bert") -> Path:
    """A randomly initialised model with its tokenizer, as `save_pretrained` leaves them: the real loading code."""
    transformers = pytest.importorskip("transformers", reason="needs the extra text")
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", *GOOD, *BAD, *OTHERS, "a", "stone", "of", "Fair", "Good", "Ideal"]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106 - no password
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **marks).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    configs = {"bert": transformers.BertConfig, "llama": transformers.LlamaConfig}
    config = configs[kind](vocab_size=len(words), max_position_embeddings=64, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = (
            transformers.AutoModelForCausalLM.from_config(config)
            if kind == "llama"
            else transformers.AutoModel.from_config(config)
        )
    model.save_pretrained(folder)
    return folder


def real_data(*parts: str) -> Path:
    """A file of the public data sets, which are not part of the project; skips where they are not there."""
    root = Path(os.environ.get("CKPTOP_DATA") or Path(__file__).parents[3] / "shared" / "data")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there; set CKPTOP_DATA to the folder of the public data sets")
    return path
