"""Classes of one's own in bundles: found again, or refused before anything is written."""

import json

import keras
import numpy as np
import pytest

import keraslm
from keraslm.models import BERT, GPT
from keraslm.tasks import FillMask, SentenceEncoder, TextGenerator
from keraslm.tokenizers import Tokenizer

TEXTS = ["a cat sat on a mat", "a dog sat on a log"]
TOKENIZER = Tokenizer.train(TEXTS, "char", vocab_size=None)
SMALL = {"num_layers": 1, "d_model": 8, "num_heads": 2, "max_length": 16}
register = keras.saving.register_keras_serializable("tests")


@register
class Louder(GPT):
    """Logits times a factor: another model with the same weights."""

    def __init__(self, *args, factor=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = factor

    def call(self, inputs, training=None, mask=None):
        return self.factor * super().call(inputs, training=training)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


@register
class MyBERT(BERT):
    pass


@register
class Shouting(TextGenerator):
    def generate(self, text, **settings):
        return super().generate(text, **settings).upper()


@register
class MyEncoder(SentenceEncoder):
    pass


class Unknown(GPT):
    pass


class UnknownTask(TextGenerator):
    pass


class Forgetful(Louder):
    def get_config(self):
        return GPT.get_config(self)


class Narrow(GPT):
    def get_config(self):
        return {**super().get_config(), "d_model": 4}


def test_models_and_tasks_come_back_as_what_they_were(tmp_path):
    gpt = Louder(TOKENIZER.vocab_size, **SMALL, factor=3.0)
    lm = Shouting(gpt, TOKENIZER)
    again = keraslm.from_pretrained(lm.save(tmp_path / "lm"))
    assert type(again) is Shouting and type(again.model) is Louder
    ids = np.array([TOKENIZER.encode("a cat sat")], "int32")
    np.testing.assert_array_equal(again.model(ids), gpt(ids))
    assert again.generate("a", max_new_tokens=3) == lm.generate("a", max_new_tokens=3)
    assert again.generate("a", max_new_tokens=3).startswith("A")
    config = json.loads((tmp_path / "lm" / "config.json").read_text())
    assert config["model"]["class"] == "tests>Louder" and config["task"] == "TextGenerator"
    gpt.save(tmp_path / "m.keras")
    assert type(keras.models.load_model(tmp_path / "m.keras")) is Louder


def test_encoders_too(tmp_path):
    encoder = MyEncoder(MyBERT(TOKENIZER.vocab_size, **SMALL, head=None), TOKENIZER, pooling="max")
    again = keraslm.from_pretrained(encoder.save(tmp_path / "encoder"))
    assert type(again) is MyEncoder and type(again.model) is MyBERT
    np.testing.assert_allclose(again.encode(TEXTS), encoder.encode(TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("model", "task", "message"),
    [
        (Unknown, TextGenerator, "Unknown could not be found again.*register_keras_serializable"),
        (GPT, UnknownTask, "UnknownTask could not be found again.*register_keras_serializable"),
        (register(Forgetful), TextGenerator, "does not have 'factor', an argument of"),
        (register(Narrow), TextGenerator, r"Narrow.from_config\(.*does not make this model again"),
    ],
)
def test_what_could_not_be_read_is_not_written(model, task, message, tmp_path):
    lm = task(model(TOKENIZER.vocab_size, **SMALL), TOKENIZER)
    with pytest.raises(ValueError, match=message):
        lm.save(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_class_that_only_has_the_name_of_ours_is_not_taken_for_it(tmp_path):
    impostor = type("GPT", (GPT,), {})(TOKENIZER.vocab_size, **SMALL)
    with pytest.raises(ValueError, match="GPT could not be found again"):
        TextGenerator(impostor, TOKENIZER).save(tmp_path / "bundle")


def test_a_class_that_nobody_registered_is_named_when_loading(tmp_path):
    lm = Shouting(GPT(TOKENIZER.vocab_size, **SMALL), TOKENIZER)
    file = lm.save(tmp_path / "bundle") / "config.json"
    file.write_text(file.read_text().replace("tests>Shouting", "elsewhere>Shouting"))
    with pytest.raises(ValueError, match="of the class 'elsewhere>Shouting', which nobody has"):
        keraslm.from_pretrained(tmp_path / "bundle")


def test_a_plain_task_names_no_class_of_its_own(tmp_path):
    fill = FillMask(BERT(TOKENIZER.vocab_size, **SMALL), TOKENIZER)
    config = json.loads((fill.save(tmp_path / "b") / "config.json").read_text())
    assert "task_class" not in config and config["model"]["class"] == "BERT"
