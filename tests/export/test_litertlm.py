"""The .litertlm bundle in LiteRT-LM."""

import json

import pytest

from keraslm import export
from keraslm.export.to_litertlm.proof import tflite_part
from keraslm.models import BERT

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


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
    assert json.loads((bundle.parent / "manifest.json").read_text())["model.litertlm"]["sha256"]


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
    assert result.equal_tokens > 0.8 * result.tokens


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
