"""Training tokenizers, importing those of GPT-2, RoBERTa and BERT: builds the engine's parts."""

import itertools
import unicodedata
from pathlib import Path

from keraslm._files.facts import read_dict
from keraslm._scripts import warn_of_clauses
from keraslm._text import checked_text, checked_texts, is_iterable, is_whole
from keraslm.tokenizers.chinese import train_chinese

BERT_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
DEFAULT_SPECIAL_TOKENS = {
    "bpe": ("<|endoftext|>",),
    "wordpiece": BERT_SPECIAL_TOKENS,
    "word": ("<pad>", "<unk>", "<|endoftext|>"),
    "char": ("<pad>", "<unk>", "<|endoftext|>"),
    "jieba": ("<pad>", "<unk>", "<|endoftext|>"),
}
CLAUSES = (
    "kind='word' makes one word of whole clauses such as {clause!r}: this script puts no blanks "
    "between words. Take kind='jieba' (Chinese words), 'char', 'bpe' or 'wordpiece'."
)
SAMPLE = 1_000_000  # characters of a text in which clauses and marks are looked for
MARKS = 0.01  # of all letters; fewer are of foreign names


def train(texts, kind, vocab_size, min_frequency, lowercase, special_tokens):
    """See `Tokenizer.train`. Returns a ``tokenizers.Tokenizer``."""
    if not isinstance(kind, str) or kind not in DEFAULT_SPECIAL_TOKENS:
        raise ValueError(
            f"kind must be one of {sorted(DEFAULT_SPECIAL_TOKENS)}; received {kind!r}."
        )
    if isinstance(texts, (str, bytes)):
        raise ValueError("texts must be an iterable of documents; received one string: [text].")
    if not is_iterable(texts):
        raise ValueError(
            f"texts must be an iterable of documents; received {type(texts).__name__}."
        )
    if min_frequency is None:
        min_frequency = 1 if kind == "char" else 2
    if not is_whole(min_frequency):
        raise ValueError(
            f"min_frequency must be a whole number, 0 or more; received {min_frequency!r}."
        )
    if vocab_size is not None and not is_whole(vocab_size):
        raise ValueError(f"vocab_size must be a positive whole number; received {vocab_size!r}.")
    special_tokens = checked_texts(special_tokens or DEFAULT_SPECIAL_TOKENS[kind], "special_tokens")
    smallest = len(special_tokens) + (256 if kind == "bpe" else 1)
    if vocab_size is None and kind in ("bpe", "wordpiece"):
        raise ValueError(f"vocab_size must be a number for kind={kind!r}; received None.")
    if vocab_size is not None and vocab_size < smallest:
        raise ValueError(
            f"vocab_size must be at least {smallest} for kind={kind!r} (special tokens"
            f"{' and the 256 bytes' if kind == 'bpe' else ''}); received {vocab_size}."
        )
    if kind == "jieba":
        return train_chinese(
            _not_empty(texts), vocab_size, min_frequency, lowercase, special_tokens,
            _unknown(special_tokens),
        )  # fmt: skip
    if kind == "word":
        texts = _watched(texts)
    texts = _not_empty(texts)
    engine, trainer = _parts(kind, vocab_size, min_frequency, lowercase, special_tokens)
    if kind == "wordpiece" and lowercase:
        sample, texts = _sampled(texts)
        if _marks_are_letters(sample):
            engine.normalizer.strip_accents = False
    engine.train_from_iterator(texts, trainer)
    if kind == "wordpiece" or {"[CLS]", "[SEP]"} <= set(special_tokens):
        engine.post_processor = _bert_template(engine)
    return engine


def _watched(texts):
    """The texts; at the end it is said if clauses became words."""
    sample, size = [], 0
    for text in texts:
        if size < SAMPLE and isinstance(text, str):
            sample.append(text[:SAMPLE])
            size += len(text)
        yield text
    warn_of_clauses("\n".join(sample), CLAUSES)


def _sampled(texts):
    """The beginning of an iterator's texts, as one, and all of them."""
    some, size = [], 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size > SAMPLE:
            break
    return "\n".join(text[:SAMPLE] for text in some), itertools.chain(some, texts)


def _marks_are_letters(text):
    """Whether a text has marks on other letters than Latin and Greek ones.

    BERT's uncased models strip all marks: of Hindi or Thai the vowels, of Russian ``й`` the breve,
    and they take Korean syllables apart.
    """
    if text.isascii():
        return False
    marks = letters = 0
    base = " "
    for character in text:
        is_mark = unicodedata.category(character) == "Mn"
        base = base if is_mark else unicodedata.normalize("NFD", character)
        letters += character.isalpha()
        if is_mark or len(base) > 1:
            marks += not unicodedata.name(base[0], "").startswith(("LATIN", "GREEK"))
    return marks > MARKS * letters


def _not_empty(texts):
    texts = (text for text in texts if checked_text(text, "a text").strip())
    first = next(texts, None)
    if first is None:
        raise ValueError("The texts are empty: nothing to train a tokenizer on.")
    return itertools.chain([first], texts)


def _parts(kind, vocab_size, min_frequency, lowercase, special_tokens):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    common = {"special_tokens": special_tokens, "show_progress": False}
    # Words and characters without a bound: any number of tokens.
    size = vocab_size if vocab_size is not None else 2**31 - 1
    trainer: trainers.Trainer
    if kind == "bpe":
        engine = _byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=min_frequency,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            **common,
        )
    elif kind == "wordpiece":
        engine = _bert(models.WordPiece(unk_token="[UNK]"), lowercase)
        # A letter takes two places, as a beginning and as "##letter"; Chinese has thousands, which
        # the trainer would keep whatever vocab_size says.
        letters = max(1, (size - len(special_tokens)) // 2)
        trainer = trainers.WordPieceTrainer(
            vocab_size=size, min_frequency=min_frequency, limit_alphabet=letters, **common
        )
    else:
        engine = Tokenizer(models.WordLevel(unk_token=_unknown(special_tokens)))
        trainer = trainers.WordLevelTrainer(vocab_size=size, min_frequency=min_frequency, **common)
        if kind == "word":
            if lowercase:  # and no accent is stripped: in most scripts a mark is a letter
                engine.normalizer = normalizers.Lowercase()
            engine.pre_tokenizer = pre_tokenizers.Whitespace()
            engine.decoder = decoders.WordPiece(cleanup=True)
        else:
            engine.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
            engine.decoder = decoders.Fuse()
    return engine, trainer


def _unknown(special_tokens):
    for token in special_tokens:
        if "unk" in token.lower():
            return token
    raise ValueError(
        f"special_tokens needs an unknown token such as '<unk>'; received {special_tokens}."
    )


def _byte_level(model):
    """GPT-2's arrangement: bytes as visible characters, no normalisation, no unknown token."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    engine = Tokenizer(model)
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    return engine


def _bert(model, lowercase):
    """BERT's arrangement: clean, split Chinese characters, fold case; split on punctuation."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

    engine = Tokenizer(model)
    engine.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    engine.decoder = decoders.WordPiece()
    return engine


def _bert_template(engine):
    from tokenizers import processors

    special = [(token, engine.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    if any(i is None for _, i in special):
        raise ValueError("special_tokens of a wordpiece tokenizer need [CLS] and [SEP].")
    return processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )


def _add_special_tokens(engine, tokens):
    """Make tokens special, found in a text before it is normalized."""
    from tokenizers import AddedToken

    engine.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens])


def read_merges(file):
    """Pairs of a ``merges.txt``."""
    lines = Path(file).read_text(encoding="utf-8").split("\n")
    pairs = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"{file} is not a merges.txt: each line needs two tokens.")
    return pairs


def read_bert_vocab(file):
    """Ids of a ``vocab.txt``, which has one token a line."""
    # Split by hand and not stripped: one token of the Chinese vocabulary is a space, U+2028.
    tokens = Path(file).read_text(encoding="utf-8").split("\n")
    return {token.rstrip("\r"): i for i, token in enumerate(tokens) if token.rstrip("\r")}


def from_gpt2_files(vocab, merges):
    """Engine from ``vocab.json`` and ``merges.txt`` of GPT-2 (Radford et al. 2019) or RoBERTa."""
    from tokenizers import models, processors

    for file in (Path(vocab), Path(merges)):
        if not file.is_file():
            raise FileNotFoundError(f"No file {file}. Give GPT-2's vocab.json and merges.txt.")
    ids = read_dict(Path(vocab))
    engine = _byte_level(models.BPE(vocab=ids, merges=read_merges(merges)))
    if ids.keys() >= set(ROBERTA_SPECIAL_TOKENS):  # GPT-2's token is then a text like any other
        _add_special_tokens(engine, ROBERTA_SPECIAL_TOKENS)
        engine.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> </s> $B </s>",
            special_tokens=[(token, ids[token]) for token in ("<s>", "</s>")],
        )
    elif "<|endoftext|>" in ids:
        _add_special_tokens(engine, ["<|endoftext|>"])
    return engine


def from_bert_vocab(vocab, lowercase):
    """Engine from BERT's ``vocab.txt`` (Devlin et al. 2019)."""
    from tokenizers import models

    if not Path(vocab).is_file():
        raise FileNotFoundError(f"No file {vocab}. Give BERT's vocab.txt, one token a line.")
    ids = read_bert_vocab(vocab)
    if "[UNK]" not in ids:
        raise ValueError(f"{vocab} is not a BERT vocabulary: it has no [UNK].")
    engine = _bert(models.WordPiece(vocab=ids, unk_token="[UNK]"), lowercase)
    _add_special_tokens(engine, [token for token in BERT_SPECIAL_TOKENS if token in ids])
    engine.post_processor = _bert_template(engine)
    return engine
