"""Tokenizers of Hugging Face folders give what ``AutoTokenizer`` gives, from str to str."""

import functools
import io
import json
import random
import warnings

import pytest

import keraslm
from keraslm.interop.tokenizer_files import load_tokenizer
from keraslm.tokenizers import TextStream
from keraslm.tokenizers.spacing import join_chinese

pytestmark = pytest.mark.peer
transformers = pytest.importorskip("transformers")
pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
decoders, models, normalizers = tokenizers.decoders, tokenizers.models, tokenizers.normalizers
pre_tokenizers, processors, trainers = (
    tokenizers.pre_tokenizers, tokenizers.processors, tokenizers.trainers
)  # fmt: skip

TEXTS = [
    "the cat sat on the mat, and it's 12 o'clock.", "a dog ran over the hill; don't you see?",
    "今天天气很好，我们去公园玩吧。", "naïve café Straße 2024 1234", "мой край любимый",
    "한국어 문장", "hello  world\n\n  def f(x):\treturn x", "Möchte ich gehen",
] * 8  # fmt: skip
PARTS = [
    "the cat", "  ", "\n", "\n\n", "12345", "café", "cafe\u0301", "ÀÉ", " don't", "CAN'T",
    "今天天气", "，", "你好", "мой", "한국어", "👩\u200d👩\u200d👧", "\t", "<s>", "</s>", "[CLS]",
    "[SEP]", "[MASK]", "<mask>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>", "[INST]",
    "<new>", "<extra_id_3>", " .", "!", "\u2581", "x", "ﬁ", "①", "\u2028", "\x00", "a ", " b",
    "hello  world", "İ", "ß",
]  # fmt: skip
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2, "max_position_embeddings": 130}  # fmt: skip
ROLES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep")
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
GENERATION = {"do_sample": True, "temperature": 0.7, "top_k": 20, "top_p": 0.8,
              "repetition_penalty": 1.1, "no_repeat_ngram_size": 3}  # fmt: skip


def strings(number=500):
    rng = random.Random(0)
    texts = ["the cat", " ", "a"]
    while len(texts) < number:
        texts.append("".join(rng.choice(PARTS) for _ in range(rng.randrange(1, 7))))
    return texts


# === Folders ===


def byte_level(special, pre_tokenizer=None, normalizer=None):
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    if normalizer:
        engine.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    engine.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    ))  # fmt: skip
    return engine


def template(engine, single):
    names = [word for word in single.split() if word != "$A"]
    engine.post_processor = processors.TemplateProcessing(
        single=single, special_tokens=[(name, engine.token_to_id(name)) for name in names]
    )
    return engine


def wrapped(engine, **roles):
    return transformers.PreTrainedTokenizerFast(tokenizer_object=engine, **roles)


def write_bpe(folder, engine):
    model = json.loads(engine.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]))
    lines = [" ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")


def write_settings(folder, **settings):
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def sentencepiece(kind, **options):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    out = io.BytesIO()
    trainer.Train(
        sentence_iterator=iter(TEXTS), model_writer=out, model_type=kind, minloglevel=2,
        hard_vocab_limit=False, character_coverage=1.0,
        **{"vocab_size": 500 if kind == "bpe" else 250, **options},
    )  # fmt: skip
    return out.getvalue()


def wordpiece():
    engine = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    engine.normalizer = normalizers.BertNormalizer(lowercase=False)
    engine.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    engine.train_from_iterator(TEXTS, trainers.WordPieceTrainer(
        vocab_size=220, special_tokens=special, show_progress=False
    ))  # fmt: skip
    return sorted(engine.get_vocab(), key=engine.get_vocab().get)


def gpt2_saved(folder):
    end = "<|endoftext|>"
    wrapped(byte_level([end]), bos_token=end, eos_token=end).save_pretrained(folder)
    return transformers.GPT2Config


def gpt2_files(folder):
    write_bpe(folder, byte_level(["<|endoftext|>"]))
    write_settings(folder, tokenizer_class="GPT2Tokenizer", add_prefix_space=True, pad_token="<p>")
    return transformers.GPT2Config


def llama3(folder):
    words = r"(?i:'s|'t|'re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+"
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(words), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    engine = byte_level(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], split)
    template(engine, "<|begin_of_text|> $A")
    wrapped(engine, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>",
            clean_up_tokenization_spaces=True).save_pretrained(folder)  # fmt: skip
    return functools.partial(transformers.LlamaConfig, bos_token_id=0, eos_token_id=[1, 2])


def chatml(folder):
    theirs = wrapped(byte_level(["<|im_start|>", "<|im_end|>"]), eos_token="<|im_end|>")
    theirs.chat_template = {"default": CHAT, "tool_use": CHAT + "tools"}
    theirs.save_pretrained(folder)
    return functools.partial(transformers.LlamaConfig, eos_token_id=1)


def qwen(folder):
    like = transformers.Qwen2Tokenizer(vocab={"<|endoftext|>": 0}, merges=[]).backend_tokenizer
    engine = byte_level([], like.pre_tokenizer, like.normalizer)
    write_bpe(folder, engine)
    names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    first = engine.get_vocab_size()
    added = {str(first + i): {"content": n, "special": True, **flags} for i, n in enumerate(names)}
    write_settings(
        folder, tokenizer_class="Qwen2Tokenizer", bos_token=None, eos_token="<|im_end|>",
        pad_token="<|endoftext|>", added_tokens_decoder=added, chat_template=CHAT,
        model_max_length=99,
    )  # fmt: skip
    ids = {"eos_token_id": first + 2, "num_key_value_heads": 2}
    return functools.partial(transformers.Qwen2Config, **ids)


BYTES = {"byte_fallback": True, "normalization_rule_name": "identity",
         "remove_extra_whitespaces": False}  # fmt: skip


def llama2(folder, legacy=False):
    (folder / "tokenizer.model").write_bytes(sentencepiece("bpe", **BYTES))
    start = {"__type": "AddedToken", "content": "<s>", "lstrip": False, "normalized": True,
             "rstrip": False, "single_word": False}  # fmt: skip
    write_settings(folder, tokenizer_class="LlamaTokenizer", add_bos_token=True, bos_token=start,
                   add_eos_token=legacy, legacy=legacy)  # fmt: skip
    return functools.partial(transformers.LlamaConfig, vocab_size=600)


def llama2_json(folder):
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    engine.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    engine.decoder = decoders.Sequence([
        decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0),
    ])  # fmt: skip
    engine.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    special = ["<unk>", "<s>", "</s>"]
    engine.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, show_progress=False
    ))  # fmt: skip
    template(engine, "<s> $A")
    wrapped(engine, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    return transformers.LlamaConfig


def mistral(folder):
    model = sentencepiece("bpe", byte_fallback=True, user_defined_symbols=["[INST]", "[/INST]"])
    (folder / "tokenizer.model").write_bytes(model)
    write_settings(folder, tokenizer_class="LlamaTokenizer", add_bos_token=True)
    return functools.partial(transformers.MistralConfig, vocab_size=600, num_key_value_heads=1)


def gemma(folder):
    engine = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    engine.normalizer = normalizers.Replace(" ", "\u2581")
    engine.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    engine.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    pieces = [f"<0x{i:02X}>" for i in range(256)]
    engine.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=600, special_tokens=special + pieces, show_progress=False
    ))  # fmt: skip
    data = json.loads(template(engine, "<bos> $A").to_str())
    data["added_tokens"] = data["added_tokens"][: len(special)]  # bytes are no special tokens
    wrapped(tokenizers.Tokenizer.from_str(json.dumps(data))).save_pretrained(folder)
    write_settings(folder, tokenizer_class="GemmaTokenizerFast", add_bos_token=True)
    return functools.partial(
        transformers.Gemma3TextConfig,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        eos_token_id=1,
    )


def bert(folder, config="BertConfig", **settings):
    (folder / "vocab.txt").write_text("\n".join(wordpiece()) + "\n", encoding="utf-8")
    write_settings(folder, tokenizer_class="BertTokenizer", **settings)
    return getattr(transformers, config)


def roberta(folder):
    engine = byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    write_bpe(folder, engine)
    (folder / "added_tokens.json").write_text(json.dumps({"<new>": engine.get_vocab_size()}))
    mask = {"content": "<mask>", "lstrip": True, "normalized": False, "rstrip": False,
            "single_word": False}  # fmt: skip
    (folder / "special_tokens_map.json").write_text(json.dumps({"mask_token": mask}))
    return transformers.RobertaConfig


def xlm_roberta(folder):
    (folder / "sentencepiece.bpe.model").write_bytes(sentencepiece("unigram"))
    return functools.partial(transformers.XLMRobertaConfig, vocab_size=300)


def t5(folder):
    model = sentencepiece("unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (folder / "spiece.model").write_bytes(model)
    write_settings(folder, tokenizer_class="T5Tokenizer", extra_ids=10)
    return functools.partial(transformers.T5Config, vocab_size=300, d_model=16)


def unigram(folder):
    engine = tokenizers.Tokenizer(models.Unigram())
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    engine.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>"]
    engine.train_from_iterator(TEXTS, trainers.UnigramTrainer(
        vocab_size=300, special_tokens=special, unk_token="<unk>", show_progress=False
    ))  # fmt: skip
    template(engine, "$A </s>")
    wrapped(engine, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(folder)
    return functools.partial(transformers.LlamaConfig, eos_token_id=2)


KINDS = {
    "gpt2 saved": gpt2_saved,
    "gpt2 files": gpt2_files,
    "llama3": llama3,
    "chatml": chatml,
    "qwen": qwen,
    "llama2": llama2,
    "llama2 legacy": functools.partial(llama2, legacy=True),
    "llama2 json": llama2_json,
    "mistral": mistral,
    "gemma": gemma,
    "bert uncased": bert,
    "bert cased": functools.partial(bert, do_lower_case=False, strip_accents=True),
    "bert accents": functools.partial(
        bert, strip_accents=False, tokenize_chinese_chars=False, clean_up_tokenization_spaces=True
    ),
    "chinese gpt2": functools.partial(bert, config="GPT2Config", do_lower_case=False),
    "roberta": roberta,
    "xlm-roberta": xlm_roberta,
    "t5": t5,
    "unigram": unigram,
}
NO_MODEL = ("t5",)  # a family that we do not have
MODELS = [kind for kind in KINDS if kind not in NO_MODEL]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    @functools.cache
    def make(kind):
        folder = tmp_path_factory.mktemp("folder")
        make_config = KINDS[kind](folder)
        if getattr(make_config, "keywords", {}).get("vocab_size") is None:
            json_file = {"model_type": make_config().model_type}
            (folder / "config.json").write_text(json.dumps(json_file))
            size = len(transformers.AutoTokenizer.from_pretrained(folder))
            make_config = functools.partial(make_config, vocab_size=size)
        config = make_config() if kind in NO_MODEL else make_config(**SHAPE)
        config.save_pretrained(folder)
        return folder

    return make


@pytest.fixture(scope="module")
def model_folder_of(folder_of):
    """With weights and settings of generation."""

    @functools.cache
    def make(kind):
        folder = folder_of(kind)
        config = transformers.AutoConfig.from_pretrained(folder)
        is_decoder = config.model_type not in ("bert", "roberta", "xlm-roberta")
        model = "AutoModelForCausalLM" if is_decoder else "AutoModelForMaskedLM"
        model = getattr(transformers, model).from_config(config)
        if is_decoder:
            for key, value in GENERATION.items():
                setattr(model.generation_config, key, value)
        model.save_pretrained(folder)
        return folder

    return make


def load(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return keraslm.from_pretrained(folder)


def check_same(theirs, ours, number=500):
    """Ids with and without the template, prompts, texts, streams and roles are the same."""
    for role in ROLES:
        assert getattr(theirs, f"{role}_token_id") == ours.special_id(role), role
    assert theirs.chat_template == ours.roles.chat_template
    for text in strings(number):
        whole, bare = theirs(text).input_ids, theirs(text, add_special_tokens=False).input_ids
        assert ours.encode(text, add_special_tokens=True) == whole, repr(text)
        assert ours.encode(text) == bare, repr(text)
        assert not whole or ours.prompt_ids(text) == whole, repr(text)
        for skip in (True, False):
            expected = theirs.decode(whole, skip_special_tokens=skip)
            assert join_chinese(expected) == join_chinese(ours.decode(whole, skip)), repr(text)
        full = ours.decode(bare)
        cut = len(bare) // 2
        while "\ufffd" in ours.decode(bare[:cut]):
            cut -= 1
        stream = TextStream(ours, bare[:cut])
        pieces = "".join([stream.add(i) for i in bare[cut:]]) + stream.close()
        if full.startswith(ours.decode(bare[:cut])):
            assert ours.decode(bare[:cut]) + pieces == full, repr(text)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_texts_streams_and_roles_are_those_of_auto_tokenizer(folder_of, kind):
    folder = folder_of(kind)
    check_same(transformers.AutoTokenizer.from_pretrained(folder), load_tokenizer(folder))


@pytest.mark.parametrize("kind", MODELS)
def test_saved_back_it_is_the_same(model_folder_of, kind, tmp_path):
    folder = model_folder_of(kind)
    task = load(folder)
    task.save_huggingface(tmp_path / "saved")
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    back = transformers.AutoTokenizer.from_pretrained(tmp_path / "saved")
    check_same(back, task.tokenizer, 100)
    assert back.model_max_length in (theirs.model_max_length, task.model.max_length)
    task.save(tmp_path / "bundle")
    again = load(tmp_path / "bundle")
    check_same(theirs, again.tokenizer, 100)
    assert again.tokenizer.roles == task.tokenizer.roles
    if hasattr(task, "generate"):
        files = [f / "generation_config.json" for f in (folder, tmp_path / "saved")]
        before, after = (json.loads(file.read_text()) for file in files)
        assert {key: after.get(key) for key in before} == before
        assert task.generation_config == again.generation_config and again.stated == task.stated
        config = task.generation_config
        assert (config.temperature, config.top_k, config.top_p) == (0.7, 20, 0.8)


@pytest.mark.parametrize("kind", ["llama3", "llama2 json", "chinese gpt2", "qwen", "unigram"])
def test_text_and_scores_are_those_of_transformers(model_folder_of, kind):
    import torch

    folder = model_folder_of(kind)
    lm, tokenizer = load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config = transformers.GenerationConfig(max_new_tokens=12)
    for text in ("the cat", "今天天气很好", "hello world"):
        prompt = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        written = model.generate(**prompt, do_sample=False)[0]
        settings = {"temperature": 0, "repetition_penalty": 1.0, "stop_ids": ()}
        ours = lm.generate(text, max_new_tokens=12, **settings)
        stream = lm.stream(text, max_new_tokens=12, **settings)
        assert ours == text + "".join(stream)
        expected = tokenizer.decode(written, skip_special_tokens=True)
        given = tokenizer.decode(prompt.input_ids[0], skip_special_tokens=True)
        if join_chinese(given) == text:
            assert join_chinese(expected) == join_chinese(ours)
        with torch.no_grad():
            log_p = torch.log_softmax(model(**prompt).logits[0, :-1].float(), -1)
        log_p = log_p.gather(1, prompt.input_ids[0, 1:, None])[:, 0]
        assert lm.score(text).log_probs == pytest.approx(log_p.tolist(), abs=1e-4)


def test_what_is_not_honoured_is_named(model_folder_of, tmp_path):
    with pytest.warns(UserWarning, match="generation_config.json has no_repeat_ngram_size=3"):
        keraslm.from_pretrained(model_folder_of("llama3"))
    (tmp_path / "vocab.json").write_text("{}")
    write_settings(tmp_path, tokenizer_class="WhisperTokenizer")
    with pytest.raises(ValueError, match=r"vocab.json but no tokenizer.json.*WhisperTokenizer"):
        load_tokenizer(tmp_path)
    write_settings(tmp_path, tokenizer_class="GPT2Tokenizer", split_special_tokens=True)
    with pytest.raises(ValueError, match=r"tokenizer_config.json has split_special_tokens=True"):
        load_tokenizer(tmp_path)
