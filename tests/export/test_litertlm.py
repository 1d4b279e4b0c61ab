"""The .litertlm bundle in LiteRT-LM."""

import copy
import dataclasses
import json

import pytest
import tokenizers

from keraslm import export
from keraslm.export.to_litertlm import exporter
from keraslm.export.to_litertlm.proof import tflite_part
from keraslm.generation import GenerationConfig
from keraslm.models import BERT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
BROKEN = [
    "{% for m in messages %}{{ m.role",
    "{{ raise_exception('System first.') }}",
    "{{ messages[0].nothing.at.all }}",
]


@pytest.fixture(scope="module")
def bundle(lm, tmp_path_factory):
    pytest.importorskip("litert_lm_builder", reason="litert-lm-builder is not installed")
    pytest.importorskip("litert_lm", reason="litert-lm-api is not installed")
    folder = lm.save(tmp_path_factory.mktemp("bundle"))
    return export.litertlm(lm, folder, chat_template=TEMPLATE)


def test_it_is_proven(lm, bundle):
    assert bundle.name == "model.litertlm"
    result = export.Verification.from_manifest(bundle)
    assert result.passed and result.target == "litertlm" and result.max_difference < 1e-4
    manifest = json.loads((bundle.parent / "manifest.json").read_text())
    assert manifest["exports"]["model.litertlm"]["sha256"]


@pytest.mark.parametrize("prompt", ["The government", "a", "Café 你好, don't  stop", "word " * 60])
def test_the_text_is_that_of_keras(lm, bundle, prompt):
    with export.LiteRTLM(bundle) as runtime:
        assert runtime.tokenize(prompt) == lm.tokenizer.encode(prompt)
        found = "".join(runtime.stream(prompt, max_new_tokens=12))
    assert prompt + found == lm.generate(prompt, max_new_tokens=12, temperature=0)


def test_sampling_and_seeds(bundle):
    with export.LiteRTLM(bundle) as runtime:
        texts = ["".join(runtime.stream("The government", 12, temperature=1.5, top_k=40, seed=s))
                 for s in (1, 1, 2)]  # fmt: skip
    assert texts[0] == texts[1] != texts[2]


def test_stop_tokens_are_those_of_the_file(lm, bundle):
    (stop,) = lm.generation_config.stop_ids
    with export.LiteRTLM(bundle) as runtime:
        for settings in ({"stop_ids": [stop]}, {"config": lm.generation_config}):
            found = "".join(runtime.stream("The government", 12, **settings))
            assert "The government" + found == lm.generate("The government", max_new_tokens=12)
        other = lm.generation_config.replace(stop_ids=(stop, 5))
        for settings in ({"stop_ids": [5]}, {"stop_ids": []}, {"config": other}):
            with pytest.raises(
                ValueError, match=rf"stop_ids must be those of the file, \[{stop}\]"
            ):
                runtime.stream("The government", 12, **settings)


def test_conversation_uses_the_template(lm, bundle):
    import litert_lm

    with litert_lm.Engine(str(bundle), cache_dir=":nocache") as engine:
        sampler = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0)
        with engine.create_conversation(sampler_config=sampler) as conversation:
            answer = conversation.send_message("Hi there", max_output_tokens=8)
    found = answer["content"][0]["text"]
    prompt = "user: Hi there\nassistant: "
    wanted = lm.generate(prompt, max_new_tokens=8, temperature=0)[len(prompt) :]
    assert found and (found.startswith(wanted.rstrip("\ufffd")) or wanted.startswith(found))


def test_quantised(lm, bundle, tmp_path):
    path = export.litertlm(lm, tmp_path / "small.litertlm", quantization="int8")
    result = export.Verification.from_manifest(path)
    assert result.passed and result.quantization == "int8"
    assert path.stat().st_size < bundle.stat().st_size
    assert result.agreeing_tokens > 0.9 * result.judged_tokens


def test_a_verification_compares_the_texts(lm, bundle, monkeypatch):
    from keraslm.export.to_litertlm import proof as verify_litertlm

    stream = verify_litertlm.LiteRTLM.stream
    monkeypatch.setattr(
        verify_litertlm.LiteRTLM, "stream", lambda *args, **kw: ["x", *stream(*args, **kw)]
    )
    with pytest.raises(RuntimeError, match="LiteRT-LM writes another text"):
        export.verify(bundle, lm)


def test_bad_input(lm, bundle, tmp_path):
    with export.LiteRTLM(bundle) as runtime:
        with pytest.raises(ValueError, match="refused the prompt of .* tokens.*Shorten it"):
            list(runtime.stream("word " * 400))
        with pytest.raises(ValueError, match="prompt is empty"):
            list(runtime.stream(""))
    with pytest.raises(ValueError, match="must be a TextGenerator.*received GPT"):
        export.litertlm(lm.model, tmp_path)
    with pytest.raises(ValueError, match="must be a TextGenerator.*received BERT"):
        export.litertlm(BERT(20, 1, 8, 1), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No file .*none\.litertlm"):
        export.LiteRTLM(tmp_path / "none.litertlm")
    whole = bundle.read_bytes()
    for number, content in enumerate((whole[:40_000], b"LITERTLM", b"nonsense" * 99)):
        damaged = tmp_path / f"{number}.litertlm"
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not a \.litertlm file, or is damaged"):
            export.LiteRTLM(damaged)
    assert tflite_part(bundle)[4:8] == b"TFL3"


# === What stands beside the model ===


@pytest.fixture(scope="module")
def repacked(lm, bundle, tmp_path_factory):
    """The model of the good file, with what another text generator says beside it."""
    builder = pytest.importorskip("litert_lm_builder.litertlm_builder")
    content, folder = tflite_part(bundle), tmp_path_factory.mktemp("repacked")

    def repack(chat_template=None, length=160, **changes):
        other = copy.copy(lm)
        vars(other).update(changes)
        path = folder / f"{len(list(folder.iterdir()))}.litertlm"
        exporter.pack(builder, other, content, path, length, chat_template)
        return path

    return repack


def with_template(tokenizer, **roles):
    """The same tokenizer with the token of id 0 before every prompt, and other roles."""
    engine, first = tokenizers.Tokenizer.from_str(tokenizer.to_json()), tokenizer.id_to_token(0)
    engine.post_processor = tokenizers.processors.TemplateProcessing(
        f"{first} $A", special_tokens=[(first, 0)]
    )
    return Tokenizer(engine, dataclasses.replace(tokenizer.roles, prompt="open", **roles))


def test_a_proof_reads_the_settings_in_the_file(lm, repacked):
    sampled = GenerationConfig(temperature=0.8, top_k=40, top_p=0.9, seed=3, stop_ids=(0,))
    task = TextGenerator(lm.model, lm.tokenizer, sampled)
    assert export.verify(repacked(generation_config=sampled), task).passed
    changes = {"temperature": 0.7, "top_k": 600, "top_p": None, "seed": 4, "stop_ids": (5, 7)}
    wrong = repacked(generation_config=sampled.replace(**changes), length=128)
    result = export.verify(wrong, task)
    assert not result.passed
    assert result.differing == (
        "stop_ids is [5, 7] in the file and [0] in the task",
        "temperature is 0.7 in the file and 0.8 in the task",
        "top_k is 0 in the file and 40 in the task",
        "top_p is 1 in the file and 0.9 in the task",
        "seed is 4 in the file and 3 in the task",
        "max_num_tokens is 128 in the file and 160 in the task",
    )
    assert str(result).startswith("FAILED, stop_ids is [5, 7] in the file and [0] in the task, ")


def test_a_proof_reads_the_template_and_the_tokenizer_in_the_file(lm, repacked):
    """A template that the exporter was given is that of the file, however it was changed."""
    wrong = repacked(tokenizer=with_template(lm.tokenizer, chat_template=TEMPLATE))
    result = export.verify(wrong, lm)
    assert "start_ids is [0] in the file and [] in the task" in result.differing
    assert any(s.startswith("chat_template is '{% for m in") for s in result.differing)

    given = repacked(chat_template=TEMPLATE)
    content = given.read_bytes()
    assert export.verify(given, lm).passed and content.count(b"assistant: ") == 1
    given.write_bytes(content.replace(b"assistant: ", b"assistance "))
    (sentence,) = export.verify(given, lm).differing
    assert sentence.startswith("chat_template is ") and "the one with SHA-256" in sentence

    changed = json.loads(lm.tokenizer.to_json())
    left, right = changed["model"]["merges"].pop()
    number = changed["model"]["vocab"].pop(left + right)
    fewer = Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(changed)))
    result = export.verify(repacked(tokenizer=fewer), lm)
    token = f"vocabulary[{left + right!r}]"
    assert f"{token} is nothing in the file and {number} in the task" in result.differing


@pytest.mark.parametrize("template", BROKEN)
def test_a_broken_template_is_refused(lm, repacked, tmp_path, template):
    with pytest.raises(ValueError, match="chat_template does not work on a plain user message: "):
        export.litertlm(lm, tmp_path, chat_template=template)
    assert not list(tmp_path.iterdir())
    nothing = pytest.raises(ValueError, match="template makes nothing of 'Hi'")
    with export.LiteRTLM(repacked(chat_template=template)) as runtime, nothing:
        runtime.render("Hi")


def test_a_setting_that_litert_lm_has_not_is_refused(lm, tmp_path):
    config = lm.generation_config.replace(repetition_penalty=1.3)
    task = TextGenerator(lm.model, lm.tokenizer, config)
    with pytest.raises(ValueError, match="LiteRT-LM has no repetition_penalty"):
        export.litertlm(task, tmp_path)
