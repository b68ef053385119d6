"""Tiny classifiers with random weights, saved as `save_pretrained` saves real ones.

They load in milliseconds and answer nonsense, but always the same nonsense: the weights are drawn
from a fixed seed, and the vocabularies are written out below.
"""

from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertTokenizer,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

WORDS = ["the", "a", "food", "was", "good", "bad", "great", "and", "but", "not", "very", "cold"]
MAX_TOKENS = 24
"""The longest input of every model here, in tokens, special ones included."""

SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


def save_bert(folder: Path, **config: Any) -> Path:
    """Save a BERT classifier to `folder`; `config` is more of BertConfig, such as num_labels."""
    tokenizer = BertTokenizer(vocab=wordpieces(), model_max_length=MAX_TOKENS)
    size = len(tokenizer)
    shape = BertConfig(vocab_size=size, max_position_embeddings=MAX_TOKENS, **SHAPE, **config)
    return save(folder, shape, tokenizer)


def save_distilbert(folder: Path, **config: Any) -> Path:
    """Save a DistilBERT classifier, which knows no token types, to `folder`."""
    tokenizer = DistilBertTokenizer(vocab=wordpieces(), model_max_length=MAX_TOKENS)
    size = len(tokenizer)
    shape = DistilBertConfig(
        vocab_size=size,
        max_position_embeddings=MAX_TOKENS,
        dim=32,
        n_layers=2,
        n_heads=2,
        hidden_dim=64,
        **config,
    )
    return save(folder, shape, tokenizer)


def save_roberta(folder: Path, **config: Any) -> Path:
    """Save a RoBERTa classifier to `folder`.

    It has two positions more than it can use, and its tokenizer knows no limit: real ones may be
    saved that way.
    """
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend = word_level(special, unknown="<unk>")
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=backend,
        bos_token="<s>",  # noqa: S106  (a token of the vocabulary, not a secret)
        cls_token="<s>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        sep_token="</s>",  # noqa: S106
        unk_token="<unk>",  # noqa: S106
        mask_token="<mask>",  # noqa: S106
        model_input_names=["input_ids", "attention_mask"],
    )
    shape = RobertaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MAX_TOKENS + 2,
        type_vocab_size=1,
        **SHAPE,
        **config,
    )
    return save(folder, shape, tokenizer)


def save_gpt2(folder: Path, **config: Any) -> Path:
    """Save a GPT-2 classifier, which has no padding token, to `folder`."""
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=word_level(["<end>"], unknown="<end>"),
        eos_token="<end>",  # noqa: S106  (a token of the vocabulary, not a secret)
        unk_token="<end>",  # noqa: S106
        model_input_names=["input_ids", "attention_mask"],
    )
    shape = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=MAX_TOKENS,
        n_embd=32,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        **config,
    )
    return save(folder, shape, tokenizer)


def save_headless_bert(folder: Path) -> Path:
    """Save a BERT that was never made a classifier to `folder`."""
    save_bert(folder)
    BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def save(folder: Path, config: PreTrainedConfig, tokenizer: Any) -> Path:
    """Draw the weights of a classifier of this shape, and save it with its tokenizer."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    # As drawn, all classes score nearly the same; wider apart, their order is safe from rounding.
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def wordpieces() -> dict[str, int]:
    """A vocabulary for BERT's tokenizer: the words above, and letters for all others."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    pieces = dict.fromkeys([*special, *WORDS, *letters])
    return {piece: number for number, piece in enumerate(pieces)}


def word_level(special: list[str], unknown: str) -> Tokenizer:
    """A tokenizer of whole words: the special ones first, then the words above."""
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer
