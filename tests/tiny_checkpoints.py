"""Tiny classifiers with random weights, saved as `save_pretrained` saves real ones.

They load in milliseconds and answer nonsense, but always the same nonsense: the weights are drawn
from a fixed seed, and the vocabularies are written out or learnt from the corpus below.
"""

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from string import ascii_lowercase
from tempfile import TemporaryDirectory
from typing import Any

import sentencepiece
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BertConfig,
    BertModel,
    BertTokenizer,
    DebertaConfig,
    DebertaTokenizer,
    DebertaV2Config,
    DebertaV2Tokenizer,
    DistilBertConfig,
    DistilBertTokenizer,
    ElectraConfig,
    FNetConfig,
    GPT2Config,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    RobertaConfig,
    RobertaTokenizer,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
    XLNetConfig,
    XLNetTokenizer,
)

from train import layout

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


def wordpieces(words: list[str] = WORDS) -> dict[str, int]:
    """A vocabulary for BERT's tokenizer: these words, and letters for all others."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [*ascii_lowercase, *(f"##{letter}" for letter in ascii_lowercase)]
    pieces = dict.fromkeys([*special, *words, *letters])
    return {piece: number for number, piece in enumerate(pieces)}


def word_level(special: list[str], unknown: str) -> Tokenizer:
    """A tokenizer of whole words: the special ones first, then the words above."""
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


# Families of models, each with a tokenizer of the kind that it has, learnt from a few sentences.

CORPUS = [
    "the food was great and the service was friendly",
    "a cold and bad soup , but the bread was very good",
    "not the best place to eat , yet not the worst either",
    "we waited an hour for a table and left hungry",
    "what a lovely evening with wonderful music !",
    "the waiter was rude and the bill was wrong",
]


def save_family(folder: Path, family: str, words: dict[str, Any], **config: Any) -> Path:
    """Save a classifier of a family to `folder`.

    Args:
        words: more of the tokenizer's arguments, such as padding_side.
        config: more of the model's, such as num_labels.
    """
    shape, learn = FAMILIES[family]
    tokenizer = learn(**words)
    sizes = {"vocab_size": len(tokenizer), "initializer_range": 0.5, **SHAPE}
    sizes |= {"max_position_embeddings": MAX_TOKENS + 2 * (family in TWO_MORE)}
    # What a family calls the end of a text is not where its defaults have it.
    special = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id")}
    drawn = shape(**{**sizes, **special, **config})
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(drawn)  # type: ignore[no-untyped-call]
    sharpen(model.eval(), tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sharpen(model: Any, tokenizer: Any) -> None:
    """Scale the head: whatever text is asked, the classes score neither alike nor 0 and 1."""
    *_, head = (each for each in model.modules() if isinstance(each, torch.nn.Linear))
    with torch.no_grad():
        cut = partial(tokenizer, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        logits = torch.cat([model(**cut(text)).logits for text in CORPUS])
        head.weight.mul_(1.5 / logits.std())


def learn_wordpieces(kind: Any, **words: Any) -> Any:
    """A tokenizer of words and letters, as BERT has it.

    What the library's own trainer learns of pieces differs from run to run.
    """
    known = sorted({word for sentence in CORPUS for word in sentence.split()})
    return kind(vocab=wordpieces(known), **words)


def learn_bytes(kind: Any, special: list[str], **words: Any) -> Any:
    """A tokenizer of pairs of bytes, as GPT-2 and RoBERTa have it."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(CORPUS, trainer)
    model = json.loads(learner.to_str())["model"]
    return kind(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], **words)


def learn_sentencepieces(kind: Any, options: dict[str, Any], **words: Any) -> Any:
    """A tokenizer from a model of sentencepiece, as XLM-R, DeBERTa-v3 and Llama have it."""
    with TemporaryDirectory() as folder:
        write_sentencepieces(Path(folder) / kind.vocab_files_names["vocab_file"], options)
        return kind.from_pretrained(folder, **words)


def write_sentencepieces(path: Path, options: dict[str, Any]) -> None:
    """Learn a model of sentencepiece, and write it to the file that a family looks for."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 9),
        model_writer=model,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    path.write_bytes(model.getvalue())


OF_ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
OF_DEBERTA = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
UNIGRAM: dict[str, Any] = {"model_type": "unigram", "vocab_size": 90}
UNIGRAM_OF_DEBERTA = UNIGRAM | {
    "pad_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "unk_id": 3,
    "pad_piece": "[PAD]",
    "bos_piece": "[CLS]",
    "eos_piece": "[SEP]",
    "unk_piece": "[UNK]",
}
PAIRS_OF_BYTES = {"model_type": "bpe", "vocab_size": 330, "byte_fallback": True}
# They have two positions that are never used.
TWO_MORE = {"RoBERTa", "XLM-R"}
RELATIVE: dict[str, Any] = {
    "relative_attention": True,
    "pos_att_type": ["c2p", "p2c"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
OF_DEBERTA_V3: dict[str, Any] = {
    "share_att_key": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
}

# The model's configuration and the tokenizer of each.
FAMILIES: dict[str, tuple[Callable[..., Any], partial[Any]]] = {
    "BERT": (BertConfig, partial(learn_wordpieces, BertTokenizer)),
    "DistilBERT": (DistilBertConfig, partial(learn_wordpieces, DistilBertTokenizer)),
    "ELECTRA": (ElectraConfig, partial(learn_wordpieces, BertTokenizer)),
    "RoBERTa": (
        partial(RobertaConfig, type_vocab_size=1),
        partial(learn_bytes, RobertaTokenizer, OF_ROBERTA),
    ),
    "XLM-R": (
        partial(XLMRobertaConfig, type_vocab_size=1),
        partial(learn_sentencepieces, XLMRobertaTokenizer, UNIGRAM),
    ),
    "DeBERTa": (
        partial(DebertaConfig, **RELATIVE),
        partial(learn_bytes, DebertaTokenizer, OF_DEBERTA),
    ),
    "DeBERTa-v2": (
        partial(DebertaV2Config, **RELATIVE),
        partial(learn_sentencepieces, DebertaV2Tokenizer, UNIGRAM_OF_DEBERTA),
    ),
    "DeBERTa-v3": (
        partial(DebertaV2Config, **RELATIVE, **OF_DEBERTA_V3),
        partial(learn_sentencepieces, DebertaV2Tokenizer, UNIGRAM_OF_DEBERTA),
    ),
    "XLNet": (
        # It has no limit of its own, and no word for one.
        lambda max_position_embeddings, **config: XLNetConfig(d_inner=64, d_head=16, **config),
        partial(learn_sentencepieces, XLNetTokenizer, UNIGRAM),
    ),
    "FNet": (FNetConfig, partial(learn_wordpieces, BertTokenizer)),
    "BART": (
        partial(BartConfig, d_model=32, encoder_layers=1, decoder_layers=1),
        partial(learn_bytes, RobertaTokenizer, OF_ROBERTA),
    ),
    "GPT-2": (GPT2Config, partial(learn_bytes, GPT2Tokenizer, ["<|endoftext|>"])),
    "Llama": (LlamaConfig, partial(learn_sentencepieces, LlamaTokenizer, PAIRS_OF_BYTES)),
    "Qwen2": (
        partial(Qwen2Config, num_key_value_heads=1),
        partial(learn_bytes, Qwen2Tokenizer, ["<|endoftext|>"]),
    ),
}


# Layouts: the same checkpoint in the files that others have written.


def shard(folder: Path) -> None:
    """Spread the weights over several safetensors files with an index."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")


def to_bin(folder: Path) -> None:
    """Turn the weights into pytorch_model.bin."""
    torch.save(taken_weights(folder), folder / "pytorch_model.bin")


def to_sharded_bin(folder: Path) -> None:
    """Spread the weights over two .bin files with an index."""
    weights = taken_weights(folder)
    names = {
        name: f"pytorch_model-0000{number % 2 + 1}-of-00002.bin"
        for number, name in enumerate(weights)
    }
    for file in set(names.values()):
        part = {name: each for name, each in weights.items() if names[name] == file}
        torch.save(part, folder / file)
    index = {"metadata": {}, "weight_map": names}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")


def to_state_dict(folder: Path) -> None:
    """Turn the weights into a bare state_dict."""
    torch.save(taken_weights(folder), folder / "model.pth")


def to_torchscript(folder: Path) -> None:
    """Trace the model; the names of its classes stay, its config.json does not."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    layout.write(model, words, folder, "model.pt")


def taken_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights, whose file is removed."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    file.unlink()
    return weights


def to_old_tokenizer(folder: Path) -> None:
    """Have the tokenizer in the files of its family, such as vocab.txt, alone."""
    words = AutoTokenizer.from_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    words.backend_tokenizer.model.save(str(folder))


def to_sentencepieces(folder: Path) -> None:
    """Have the tokenizer in a model of sentencepiece alone."""
    learners = [learn for _, learn in FAMILIES.values() if learn.func is learn_sentencepieces]
    tokenizer = type(AutoTokenizer.from_pretrained(folder))
    kind, options = next(learn.args for learn in learners if learn.args[0] is tokenizer)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    write_sentencepieces(folder / kind.vocab_files_names["vocab_file"], options)
