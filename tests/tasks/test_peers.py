"""Tasks beside transformers, from text to answer: folders that it saved, and folders for it."""

import json

import numpy as np
import pytest

import keraslm
from keraslm.tasks import NextSentence, QuestionAnswerer, SentenceEncoder, TextClassifier
from keraslm.tasks.question_answerer import Window
from keraslm.tokenizers import Tokenizer

pytestmark = pytest.mark.peer
TEXTS = [
    "The government of Australia said on Monday that it will send police to the north.",
    "a",
    "",
    "这部电影很好看。 Police said so",
    "In Sydney, Mr Howard met Ms Smith; Paris was cold.",
]
SIZE = dict(num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=48,
            max_position_embeddings=64, initializer_range=0.4)  # fmt: skip
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "MISC"]


@pytest.fixture(scope="module")
def transformers():
    pytest.importorskip("torch")
    return pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tokenizers(articles):
    wordpiece = Tokenizer.train(articles[:50], "wordpiece", 500, lowercase=True)
    return {"wordpiece": wordpiece, "bpe": Tokenizer.train(articles[:50], vocab_size=500)}


@pytest.fixture
def folder(transformers, tokenizers, tmp_path):
    """``folder(architecture, **options)``: a random model with a tokenizer, saved there."""

    def make(architecture, **options):
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        cls = getattr(transformers, architecture)
        kind = "wordpiece" if architecture.startswith(("Bert", "Distil")) else "bpe"
        config = cls.config_class(vocab_size=500, **{**SIZE, **options})
        if kind == "bpe":
            config.pad_token_id = options.get("pad_token_id", 0)
            config.eos_token_id = config.bos_token_id = 0
        model = cls(config).eval()
        with torch.no_grad():  # biases too
            for weight in model.parameters():
                if weight.ndim == 1:
                    weight += 0.1 * torch.randn(weight.shape)
        model.save_pretrained(tmp_path / "theirs")
        names = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
        if kind == "bpe":
            names = dict.fromkeys(("eos", "pad"), "<|endoftext|>")
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers[kind].engine, model_max_length=64,
            **{f"{role}_token": name for role, name in names.items()},
        )  # fmt: skip
        fast.model_input_names = ["input_ids", "attention_mask"]
        if architecture.startswith("Bert"):
            fast.model_input_names.insert(1, "token_type_ids")
        fast.save_pretrained(tmp_path / "theirs")
        return tmp_path / "theirs", model, fast

    return make


def both_ways(task, tmp_path):
    """The task, itself from a bundle, and itself from a folder for transformers."""
    yield task
    yield keraslm.from_pretrained(task.save(tmp_path / "bundle"))
    yield keraslm.from_pretrained(task.save_huggingface(tmp_path / "back"))


GPT2 = dict(n_layer=1, n_embd=32, n_head=2, n_positions=64, initializer_range=0.4)
GROUPED = {"num_key_value_heads": 1}


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("BertForSequenceClassification", {"num_labels": 3}),
        ("BertForSequenceClassification", {"num_labels": 1}),
        ("BertForSequenceClassification", {"num_labels": 1, "problem_type": "regression"}),
        ("BertForSequenceClassification", {"num_labels": 3, "problem_type": "regression"}),
        ("BertForSequenceClassification",
         {"num_labels": 3, "problem_type": "multi_label_classification"}),
        ("DistilBertForSequenceClassification", {"n_layers": 1, "dim": 32, "n_heads": 2,
                                                 "hidden_dim": 48}),
        ("LlamaForSequenceClassification", GROUPED),
        ("Qwen2ForSequenceClassification", {**GROUPED, "id2label": {0: "bad", 1: "good"}}),
        ("Qwen3ForSequenceClassification", {**GROUPED, "head_dim": 16}),
        ("MistralForSequenceClassification", GROUPED),
        ("Gemma3TextForSequenceClassification",
         {**GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16}),
        ("Starcoder2ForSequenceClassification", GROUPED),
        ("GPT2ForSequenceClassification", GPT2),
        ("GPT2ForSequenceClassification", {**GPT2, "pad_token_id": None}),
    ],
)  # fmt: skip
def test_text_classification(architecture, options, folder, transformers, tmp_path):
    path, model, fast = folder(architecture, **options)
    pipe = transformers.pipeline("text-classification", model=model, tokenizer=fast)
    texts = [text for text in [*TEXTS, "the end<|endoftext|>"]
             if text or architecture.startswith(("Bert", "Distil"))]  # fmt: skip
    expected = [{x["label"]: x["score"] for x in pipe([text], top_k=None)[0]} for text in texts]
    task = keraslm.from_pretrained(path)
    assert type(task) is TextClassifier
    for ours in both_ways(task, tmp_path):
        for answer, theirs in zip(ours.predict(texts), expected, strict=True):
            found = answer if isinstance(answer, dict) else answer.probabilities
            assert found.keys() == theirs.keys()
            assert all(abs(found[label] - theirs[label]) < 1e-4 for label in theirs)
            if not isinstance(answer, dict):
                assert answer.label == max(theirs, key=theirs.get)


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("BertForTokenClassification", {}),
        ("GPT2ForTokenClassification", GPT2),
        ("Qwen2ForTokenClassification", GROUPED),
    ],
)
def test_token_classification(architecture, options, folder, transformers, tmp_path):
    labels = dict(enumerate(TAGS))
    path, model, fast = folder(architecture, id2label=labels, **options)
    task = keraslm.from_pretrained(path)
    for ours in both_ways(task, tmp_path):
        for strategy in ("none", "simple"):
            pipe = transformers.pipeline("token-classification", model=model, tokenizer=fast,
                                         aggregation_strategy=strategy)  # fmt: skip
            for text in filter(None, TEXTS):
                key = "entity" if strategy == "none" else "entity_group"
                theirs = [(x[key], x["start"], x["end"], x["score"]) for x in pipe(text)]
                found = ours.predict(text, aggregation=strategy)
                assert [(e.label, e.start, e.end) for e in found] == [x[:3] for x in theirs]
                assert all(abs(e.score - x[3]) < 1e-4 for e, x in zip(found, theirs, strict=True))
                assert all(e.text == text[e.start : e.end] for e in found)


def test_next_sentence(folder, tmp_path):
    torch = pytest.importorskip("torch")
    path, model, fast = folder("BertForNextSentencePrediction")
    task = keraslm.from_pretrained(path)
    assert type(task) is NextSentence
    for ours in both_ways(task, tmp_path):
        for first, second in [*zip(TEXTS, TEXTS[1:], strict=False), (TEXTS[0] * 9, TEXTS[4] * 3)]:
            given = fast(first, second, return_tensors="pt", truncation=True, max_length=64)
            with torch.no_grad():
                wanted = float(model(**given).logits.softmax(-1)[0, 0])
            found = ours.predict(first, second)
            assert abs(found.probability - wanted) < 1e-4 and found.follows == (wanted >= 0.5)


def spans(torch, model, given, encoding, longest):
    """Probability of every span of a window: brute force."""
    with torch.no_grad():
        output = model(**{k: torch.tensor([v]) for k, v in given.items()})
    inside = [sequence == 1 or i == 0 for i, sequence in enumerate(encoding.sequence_ids)]
    start, end = (
        torch.where(torch.tensor(inside), x[0], -1e4).softmax(-1).numpy()
        for x in (output.start_logits, output.end_logits)
    )
    for i in range(len(inside)):
        for j in range(i, min(i + longest, len(inside))):
            if encoding.sequence_ids[i] == encoding.sequence_ids[j] == 1:
                yield float(start[i] * end[j]), encoding.offsets[i][0], encoding.offsets[j][1]


@pytest.mark.parametrize("length", [64, 30])
def test_question_answering(length, folder, articles, tmp_path):
    """The best span of all windows, which overlap as those of transformers do."""
    torch = pytest.importorskip("torch")
    path, model, fast = folder("BertForQuestionAnswering")
    task = keraslm.from_pretrained(path)
    assert type(task) is QuestionAnswerer
    question = "Who said so?"
    for ours in both_ways(task, tmp_path):
        ours = QuestionAnswerer(ours.model, ours.tokenizer, max_length=length, stride=9)
        for context in [*TEXTS[:1], TEXTS[4], *articles[:2]]:
            given = fast(question, context, truncation="only_second", max_length=length, stride=9,
                         return_overflowing_tokens=True)  # fmt: skip
            windows = ours.windows((question, context))
            rows = ours.inputs(windows)
            assert len(windows) == len(given["input_ids"])
            best = {}  # of each window; of those with the same words the scores are added
            for i, window in enumerate(windows):
                assert isinstance(window, Window)
                names = ("input_ids", "token_type_ids", "attention_mask")
                one = {name: given[name][i] for name in names}
                n = len(one["input_ids"])
                assert rows["token_ids"][i, :n].tolist() == one["input_ids"]
                assert rows["token_types"][i, :n].tolist() == one["token_type_ids"]
                score, start, end = max(spans(torch, model, one, given.encodings[i], 15))
                words = context[start:end].lower()
                best[words] = best.get(words, 0.0) + score
            words = max(best, key=best.get)
            found = ours.predict(question, context, align_to_words=False)
            assert found.text == context[found.start : found.end] and found.text.lower() == words
            assert abs(found.score - best[words]) < 1e-4


def test_answers_are_whole_words_and_their_scores_are_added(folder):
    path, _, _ = folder("BertForQuestionAnswering")
    task = keraslm.from_pretrained(path)
    context = "extraordinarily government-sponsored Afghanistan"
    found = task.predict("What?", context, top_k=3)
    assert len(found) == 3 and [a.score for a in found] == sorted(
        (a.score for a in found), reverse=True
    )
    words = {0, 15, 16, 26, 27, 36, 37, 48}
    assert all({a.start, a.end} <= words and a.text == context[a.start : a.end] for a in found)
    plain = task.predict("What?", context, align_to_words=False)
    assert found[0].score > plain.score
    assert task.predict("What?", "") == ("", 0, 0, 0.0)
    none = task.predict("What?", context, handle_impossible_answer=True, top_k=99)
    assert "" in [answer.text for answer in none]
    with pytest.raises(ValueError, match="fills the window of 64. Ask a shorter one"):
        task.predict("why " * 99, context)


HEADLESS = [
    ("GPT2Model", GPT2),
    ("Qwen3Model", {**GROUPED, "head_dim": 16}),
    ("Gemma3TextModel", {**GROUPED, "head_dim": 16, "query_pre_attn_scalar": 16}),
    ("LlamaModel", GROUPED),
    ("BertModel", {}),
]


@pytest.mark.parametrize(("architecture", "options"), HEADLESS)
@pytest.mark.parametrize("pooling", ["mean", "lasttoken"])
def test_models_without_a_head_embed(architecture, options, pooling, folder, tmp_path):
    torch = pytest.importorskip("torch")
    path, model, fast = folder(architecture, **options)
    stated = keraslm.interop.huggingface.sentence_files(32, pooling, True, 40)
    for name, content in stated.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content))
    task = keraslm.from_pretrained(path)
    assert type(task) is SentenceEncoder and (task.pooling, task.max_length) == (pooling, 40)
    texts = [text for text in TEXTS if text]
    for ours in both_ways(task, tmp_path):
        for text, found in zip(texts, ours.encode(texts), strict=True):
            given = fast(text, return_tensors="pt", truncation=True, max_length=40)
            with torch.no_grad():
                hidden = model(**given).last_hidden_state[0]
            wanted = hidden[-1] if pooling == "lasttoken" else hidden.mean(0)
            assert np.abs(found - (wanted / wanted.norm()).numpy()).max() < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"pooling_mode": "mean_sqrt_len_tokens"},
        {"pooling_mode": ("mean", "cls", "weightedmean"), "include_prompt": False},
        {"pooling_mode": "max"},
    ],
)
def test_sentence_transformers(options, folder, tmp_path):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from sentence_transformers import SentenceTransformer, models

    path, _, _ = folder("BertModel")
    modules = [models.Transformer(str(path), max_seq_length=40), models.Pooling(32, **options)]
    theirs = SentenceTransformer(
        modules=modules, prompts={"query": "the question: "}, default_prompt_name="query"
    )
    theirs.save(str(tmp_path / "sentences"))
    wanted = theirs.encode(TEXTS)
    for ours in both_ways(keraslm.from_pretrained(tmp_path / "sentences"), tmp_path):
        assert ours.max_length == 40 and np.abs(ours.encode(TEXTS) - wanted).max() < 1e-4
    back = SentenceTransformer(str(tmp_path / "back"))
    assert np.abs(back.encode(TEXTS) - wanted).max() < 1e-4


POOLS = {"word_embedding_dimension": 32}


@pytest.mark.parametrize(
    ("pools", "modules", "expected"),
    [
        ({**POOLS, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, (), "cls"),
        (
            {**POOLS, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
            (),
            ("cls", "mean"),
        ),
        ({"embedding_dimension": 32, "pooling_mode": "mean"}, (), "mean"),
        ({"embedding_dimension": 32, "pooling_mode": ["max", "cls"]}, (), ("max", "cls")),
        ({**POOLS, "pooling_mode": "attention"}, (), "unknown: attention"),
        ({**POOLS, "pooling_mode_new_tokens": True}, (), "unknown: pooling_mode_new_tokens"),
        ({**POOLS, "pooling_mode": "mean"}, ("Dense",), "module Dense, which is not computed"),
    ],
)
def test_what_a_folder_states_of_pooling(pools, modules, expected, tokenizers, tmp_path):
    from keraslm.models import BERT

    bert = BERT(500, 1, 32, 2, max_length=32, head=None)
    path = SentenceEncoder(bert, tokenizers["wordpiece"]).save_huggingface(tmp_path / "mine")
    (path / "1_Pooling" / "config.json").write_text(json.dumps(pools))
    if modules:
        found = json.loads((path / "modules.json").read_text())
        found += [{"type": f"sentence_transformers.models.{m}", "path": f"9_{m}"} for m in modules]
        (path / "modules.json").write_text(json.dumps(found))
    if isinstance(expected, str) and " " in expected:
        with pytest.raises(ValueError, match=expected):
            keraslm.from_pretrained(path)
        return
    assert keraslm.from_pretrained(path).pooling == expected


def test_do_lower_case_is_honoured(articles, tmp_path):
    from keraslm.models import BERT

    cased = Tokenizer.train(articles[:50], "wordpiece", 500)
    bert = BERT(500, 1, 32, 2, max_length=32, head=None, initializer_range=0.3)
    encoder = SentenceEncoder(bert, cased)
    path = encoder.save_huggingface(tmp_path / "mine")
    file = path / "sentence_bert_config.json"
    file.write_text(json.dumps({"max_seq_length": 20, "do_lower_case": True}))
    folded = keraslm.from_pretrained(path)
    wanted = encoder.encode("the police said")
    assert np.abs(folded.encode("THE Police said") - wanted).max() < 1e-6
    assert np.abs(encoder.encode("THE Police said") - wanted).max() > 1e-3


@pytest.mark.parametrize(
    ("architecture", "options", "message"),
    [
        ("BertForMultipleChoice", {}, "architecture 'BertForMultipleChoice', whose head"),
        ("BertLMHeadModel", {}, "architecture 'BertLMHeadModel', whose head"),
        ("BertLMHeadModel", {"is_decoder": True}, "BertLMHeadModel|is_decoder=True"),
        ("BertModel", {"is_decoder": True}, "is_decoder=True; only False"),
        ("GPT2DoubleHeadsModel", GPT2, "architecture 'GPT2DoubleHeadsModel', whose head"),
        ("LlamaForQuestionAnswering", GROUPED, "architecture 'LlamaForQuestionAnswering', whose"),
        ("BertForMaskedLM", {"tie_word_embeddings": False}, "tie_word_embeddings=False"),
    ],
)
def test_heads_that_are_not_computed_are_refused_by_name(architecture, options, message, folder):
    path, _, _ = folder(architecture, **options)
    with pytest.raises(ValueError, match=message) as error:
        keraslm.from_pretrained(path)
    assert "config.json" in str(error.value)
