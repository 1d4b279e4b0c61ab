"""How `transformers` 5 builds the tokenizer of each class: a table of its engines' parts.

A class takes vocabulary and merges from whatever file there is, and its other parts from its own
rules and ``tokenizer_config.json``: even beside a ``tokenizer.json`` the settings decide.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keraslm.tokenizers.sentencepiece import SPACE


class TokenizerClass(NamedTuple):
    """A class of `transformers`.

    Attributes:
        model: ``"BPE"``, ``"WordPiece"`` or ``"Unigram"``.
        roles: the tokens of the roles that nothing states.
        files: names of the vocabulary files, other than ``tokenizer.json``.
        build: makes an engine from vocabulary, merges, settings, names of roles and charsmap.
        template: makes the post-processor from names of roles, their ids and settings; ``None``:
            that of ``tokenizer.json``, or start and end tokens as ``add_bos_token`` says.
        extend: changes the pieces of a SentencePiece model: from pairs of name and score and the
            roles to such pairs.
    """

    model: str
    roles: Mapping[str, str]
    files: tuple[str, ...]
    build: Callable[..., Any]
    template: Callable[..., Any] | None = None
    extend: Callable[..., list] | None = None


def _engine(model, normalizer, pre_tokenizer, decoder):
    from tokenizers import Tokenizer

    engine = Tokenizer(model)
    if normalizer is not None:
        engine.normalizer = normalizer
    if pre_tokenizer is not None:
        engine.pre_tokenizer = pre_tokenizer
    engine.decoder = decoder
    return engine


def _bpe(vocab, merges, **options):
    from tokenizers import models

    return models.BPE(vocab=vocab, merges=merges, **options)


# === BERT ===


def _build_bert(vocab, merges, settings, roles, charsmap):
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    return _engine(
        models.WordPiece(vocab=vocab, unk_token=roles["unk"]),
        normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
            strip_accents=settings.get("strip_accents"),
            lowercase=settings.get("do_lower_case", True),
        ),
        pre_tokenizers.BertPreTokenizer(),
        decoders.WordPiece(prefix="##"),
    )


def _around(before, after, between):
    """A template with these roles before a text, after it, and between two."""

    def make(roles, ids, settings):
        from tokenizers import processors

        def names(wanted):
            return " ".join(roles[role] for role in wanted)

        single = f"{names(before)} $A {names(after)}".strip()
        second = ":1 ".join([roles[role] for role in after] + [""]).strip()
        is_bert = before == ("cls",)
        pair = f"{single} {names(between)} $B{':1' if is_bert else ''} "
        pair += second if is_bert else names(after)
        used = {roles[role] for role in (*before, *after, *between)}
        return processors.TemplateProcessing(
            single=single,
            pair=" ".join(pair.split()),
            special_tokens=[(name, ids(name)) for name in sorted(used)],
        )

    return make


def start_and_end(roles, ids, settings):
    """Start and end tokens, as ``add_bos_token`` and ``add_eos_token`` say."""
    from tokenizers import processors

    start, end = (
        f"{roles[role]}" if settings.get(f"add_{role}_token") and roles.get(role) else ""
        for role in ("bos", "eos")
    )
    single = f"{start} $A {end}".split()
    pair = f"{start} $A {end} {start and start + ':1'} $B:1 {end and end + ':1'}".split()
    return processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(name, ids(name)) for name in sorted({start, end} - {""})],
    )


# === Byte-level BPE ===


def _build_byte_level(vocab, merges, settings, roles, charsmap, normalizer=None):
    from tokenizers import decoders, normalizers, pre_tokenizers

    space = bool(settings.get("add_prefix_space", False))
    return _engine(
        _bpe(vocab, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False),
        normalizers.NFC() if normalizer == "NFC" else None,
        pre_tokenizers.ByteLevel(add_prefix_space=space),
        decoders.ByteLevel(),
    )


def _roberta_template(roles, ids, settings):
    from tokenizers import processors

    return processors.RobertaProcessing(
        (roles["sep"], ids(roles["sep"])),
        (roles["cls"], ids(roles["cls"])),
        trim_offsets=bool(settings.get("trim_offsets", True)),
        add_prefix_space=bool(settings.get("add_prefix_space", False)),
    )


# Qwen's words: letters with one character before them, single digits, lines.
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _build_qwen(vocab, merges, settings, roles, charsmap):
    from tokenizers import Regex, decoders, normalizers, pre_tokenizers

    space = bool(settings.get("add_prefix_space") or False)
    return _engine(
        _bpe(vocab, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False),
        normalizers.NFC(),
        pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(QWEN_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=space, use_regex=False),
        ]),
        decoders.ByteLevel(),
    )  # fmt: skip


# === SentencePiece ===


def _build_llama(vocab, merges, settings, roles, charsmap):
    from tokenizers import decoders, pre_tokenizers

    space = settings.get("add_prefix_space")
    space = True if space is None else bool(space)
    scheme = "never"
    if space:
        scheme = "always" if settings.get("legacy", False) else "first"
    strip = [decoders.Strip(" ", 1, 0)] if space else []
    return _engine(
        _bpe(vocab, merges, fuse_unk=True, byte_fallback=True),
        None,
        pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme, split=False),
        decoders.Sequence(
            [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
        ),
    )


def _build_gemma(vocab, merges, settings, roles, charsmap):
    from tokenizers import decoders, normalizers, pre_tokenizers

    return _engine(
        _bpe(vocab, merges, fuse_unk=True, unk_token=roles["unk"], byte_fallback=True),
        normalizers.Replace(" ", SPACE),
        pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]),
    )


def _build_unigram(vocab, merges, settings, roles, charsmap, unk_id):
    from tokenizers import decoders, models, normalizers, pre_tokenizers

    scheme = "always" if settings.get("add_prefix_space", True) else "never"
    return _engine(
        models.Unigram(vocab, unk_id=unk_id, byte_fallback=False),
        normalizers.Precompiled(charsmap) if charsmap else None,
        pre_tokenizers.Sequence([
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(SPACE, prepend_scheme=scheme),
        ]),
        decoders.Metaspace(SPACE, prepend_scheme=scheme),
    )  # fmt: skip


def _fairseq(pieces, roles, settings):
    """XLM-R numbers its first tokens in another order than the file, and adds the mask."""
    first = [(roles[role], 0.0) for role in ("bos", "pad", "eos", "unk")]
    return [*first, *pieces[3:], (roles["mask"], 0.0)]


def _sentinels(pieces, roles, settings):
    """T5 adds ``<extra_id_99>`` to ``<extra_id_0>``."""
    names = [f"<extra_id_{i}>" for i in range(settings.get("extra_ids", 100))]
    settings["extra_special_tokens"] = [*settings["extra_special_tokens"], *names]
    return [*pieces, *((name, 0.0) for name in reversed(names))]


# === The table ===

_END = "<|endoftext|>"
BERT = TokenizerClass(
    "WordPiece",
    {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"},
    ("vocab.txt",),
    _build_bert,
    _around(("cls",), ("sep",), ()),
)
GPT2 = TokenizerClass(
    "BPE",
    {"bos": _END, "eos": _END, "unk": _END},
    ("vocab.json", "merges.txt"),
    _build_byte_level,
)
ROBERTA = TokenizerClass(
    "BPE",
    {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>",
     "mask": "<mask>"},
    ("vocab.json", "merges.txt"),
    _build_byte_level,
    _roberta_template,
)  # fmt: skip
CLASSES = {
    "BertTokenizer": BERT,
    "GPT2Tokenizer": GPT2,
    "RobertaTokenizer": ROBERTA,
    "Qwen2Tokenizer": TokenizerClass(
        "BPE", {"eos": _END, "unk": _END, "pad": _END}, ("vocab.json", "merges.txt"), _build_qwen
    ),
    "GPTNeoXTokenizer": TokenizerClass(
        "BPE",
        {"bos": _END, "eos": _END, "unk": _END, "pad": "<|padding|>"},
        ("vocab.json", "merges.txt"),
        functools.partial(_build_byte_level, normalizer="NFC"),
        start_and_end,
    ),
    "LlamaTokenizer": TokenizerClass(
        "BPE",
        {"bos": "<s>", "eos": "</s>", "unk": "<unk>"},
        ("tokenizer.model",),
        _build_llama,
    ),
    "GemmaTokenizer": TokenizerClass(
        "BPE",
        {"bos": "<bos>", "eos": "<eos>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"},
        (),
        _build_gemma,
    ),
    "XLMRobertaTokenizer": TokenizerClass(
        "Unigram",
        {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>",
         "mask": "<mask>"},
        ("sentencepiece.bpe.model",),
        functools.partial(_build_unigram, unk_id=3),
        _around(("bos",), ("eos",), ("eos",)),
        _fairseq,
    ),
    "T5Tokenizer": TokenizerClass(
        "Unigram",
        {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"},
        ("spiece.model",),
        functools.partial(_build_unigram, unk_id=2),
        _around((), ("eos",), ()),
        _sentinels,
    ),
}  # fmt: skip
SAME = {
    "DistilBertTokenizer": "BertTokenizer", "ElectraTokenizer": "BertTokenizer",
    "MobileBertTokenizer": "BertTokenizer", "BartTokenizer": "RobertaTokenizer",
    "LongformerTokenizer": "RobertaTokenizer", "LEDTokenizer": "RobertaTokenizer",
    "CodeGenTokenizer": "GPT2Tokenizer",
}  # fmt: skip

# The class that goes with a model_type. "": the tokenizer.json as it is, whatever is stated.
OF_MODEL = {
    "bert": "BertTokenizer", "distilbert": "BertTokenizer", "electra": "BertTokenizer",
    "gpt2": "GPT2Tokenizer", "starcoder2": "GPT2Tokenizer", "phi": "GPT2Tokenizer",
    "opt": "GPT2Tokenizer", "gptj": "GPT2Tokenizer", "gpt_neo": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer", "olmo": "GPTNeoXTokenizer", "roberta": "RobertaTokenizer",
    "bart": "RobertaTokenizer", "xlm-roberta": "XLMRobertaTokenizer",
    "qwen2": "Qwen2Tokenizer", "qwen2_moe": "Qwen2Tokenizer", "qwen3": "Qwen2Tokenizer",
    "qwen3_moe": "Qwen2Tokenizer", "gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer", "gemma3_text": "GemmaTokenizer", "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer", "mistral": "", "mixtral": "", "ministral": "", "granite": "",
    "olmo2": "", "olmo3": "", "stablelm": "", "phi3": "", "modernbert": "", "nystromformer": "",
}  # fmt: skip
# Model types whose folders often state a wrong class: their own is taken all the same.
OWN_CLASS_ALWAYS = ("qwen2",)


def class_name(stated: str | None, model_type: str | None, is_byte_level: bool) -> str:
    """The class that `transformers` takes; ``""``: none that changes a ``tokenizer.json``.

    Args:
        stated: ``tokenizer_class``, if a file has one.
        model_type: of ``config.json``.
        is_byte_level: whether there is a ``tokenizer.json`` of bytes.
    """
    own = OF_MODEL.get(model_type or "")
    if stated is None:
        return own or ""
    stated = stated.removesuffix("Fast")
    if own == "":
        return ""
    if stated == "LlamaTokenizer" and is_byte_level and model_type not in OWN_CLASS_ALWAYS:
        return ""
    if model_type in OWN_CLASS_ALWAYS:
        return own or ""
    return "" if stated in ("PreTrainedTokenizer", "TokenizersBackend") else stated
