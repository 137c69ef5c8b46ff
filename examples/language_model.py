"""Neural Collapse of a language model: next tokens as classes, on real text.

A GPT-2 of 1,024 features with random weights, a vocabulary of 50,000 tokens learned from the text, and the
Python files of this machine's Python as text. Needs no download; with a model of your own, replace
``make_model`` and ``make_tokenizer`` by ``from_pretrained``.

    pip install 'nc-runner[transformers]'
    python examples/language_model.py
"""

import argparse
import sysconfig
import time
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

import nc_runner


def read_text(characters):
    """The first so many characters of the Python files of the standard library."""
    text, found = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        content = path.read_text(errors="ignore")
        text.append(content)
        found += len(content)
        if found >= characters:
            break
    return "\n".join(text)[:characters]


def make_tokenizer(text, vocabulary):
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        text.splitlines(), vocab_size=vocabulary, min_frequency=2, show_progress=False
    )
    return tokenizer


def make_model(vocabulary, width, layers, length):
    torch.manual_seed(0)
    heads = max(1, width // 64)
    config = GPT2Config(vocab_size=vocabulary, n_embd=width, n_layer=layers, n_head=heads, n_positions=length)
    return GPT2LMHeadModel(config)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=1024, help="features")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--length", type=int, default=256, help="tokens of a sequence")
    parser.add_argument("--batches", type=int, default=50, help="of 8 sequences each")
    parser.add_argument("--min-samples", type=int, default=10, help="rarer tokens are left out")
    parser.add_argument("--characters", type=int, default=10_000_000, help="of text that is read")
    chosen = parser.parse_args()

    began = time.perf_counter()
    text = read_text(chosen.characters)
    tokenizer = make_tokenizer(text, chosen.vocabulary)
    ids = torch.tensor(tokenizer.encode(text).ids)
    rows = min(len(ids) // chosen.length, 8 * chosen.batches)
    sequences = ids[: rows * chosen.length].view(rows, chosen.length)
    print(f"{tokenizer.get_vocab_size():,} tokens; {sequences.numel():,} tokens of text, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip

    model = make_model(tokenizer.get_vocab_size(), chosen.width, chosen.layers, chosen.length)
    batches = [{"input_ids": part, "labels": part} for part in sequences.split(8)]
    metrics = ["nc1_cdnv", "nc2_etf_error_means", "nc3_cosine", "ncc_accuracy"]  # all others by "all"
    measured = nc_runner.measure(
        model, batches, shift=True, min_samples=chosen.min_samples, metrics=metrics, progress=True
    )
    print(measured)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
