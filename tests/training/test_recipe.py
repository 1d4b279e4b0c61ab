"""A recipe is one value: checked, written and read, and followed by ``lm.fit``."""

import json

import keras
import numpy as np
import pytest

import keraslm
from keraslm.data import TokenStream, encode_documents, pack
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import Tokenizer
from keraslm.training import SGD, AdamW, Lion, Perplexity, Recipe, warmup_cosine
from keraslm.training.recipe import OPTIMIZERS

TEXTS = [f"document {i} has the number {i * 7 % 50} and the word w{i % 13}" for i in range(60)]
TOKENIZER = Tokenizer.train(TEXTS, vocab_size=300)
ROWS = pack(encode_documents(TEXTS, TOKENIZER), length=16)


def new():
    keras.utils.set_random_seed(1)
    return TextGenerator(GPT(TOKENIZER.vocab_size, 1, 8, 2, max_length=16), TOKENIZER)


def decayed(model):
    """Names of the weights that a step without gradients changes."""
    for state in model.optimizer.variables:
        if len(state.shape):
            state.assign(keras.ops.zeros(state.shape))
    before = model.get_weights()
    weights = model.trainable_variables
    model.optimizer.apply([keras.ops.zeros(w.shape) for w in weights], weights)
    pairs = zip(model.weights, before, strict=True)
    return {w.name for w, old in pairs if (np.asarray(w) != old).any()}


# === The value ===


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": "sgd", "schedule": "constant", "clip_norm": None, "steps": 7},
        {"optimizer": "lion", "optimizer_settings": {"beta_1": 0.8}, "decayed": "all", "length": 4},
    ],
)
def test_json_and_back(fields):
    recipe = Recipe(**fields)
    written = json.loads(json.dumps(recipe.to_dict()))
    assert Recipe.from_dict(written) == recipe
    assert hash(recipe) == hash(Recipe(**fields))
    assert recipe.replace(epochs=9).replace(epochs=recipe.epochs) == recipe


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adan"}, "optimizer must be one of adamw, lion, sgd; received 'adan'"),
        ({"optimizer_settings": {"momentum": 1}}, "'momentum', which is no setting of adamw"),
        ({"optimizer_settings": {"weight_decay": 1}}, "'weight_decay', which is no setting"),
        ({"learning_rate": 0}, "learning_rate must be above 0; received 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0; received nan"),
        ({"schedule": "linear"}, "schedule must be one of warmup_cosine, constant"),
        ({"warmup": 1}, r"warmup must be in \[0, 1\); received 1"),
        ({"final": 2}, "final must be from 0 to 1; received 2"),
        ({"weight_decay": -1}, "weight_decay must be 0 or more; received -1"),
        ({"decayed": "biases"}, "decayed must be one of matrices, all"),
        ({"clip_norm": 0}, "clip_norm must be above 0, or None; received 0"),
        ({"batch_size": 2.5}, "batch_size must be a positive whole number; received 2.5"),
        ({"length": 0}, "length must be a positive whole number, or None; received 0"),
        ({"epochs": True}, "epochs must be a positive whole number; received True"),
        ({"steps": "9"}, "steps must be a positive whole number, or None; received '9'"),
        ({"seed": -1}, "seed must be a whole number, 0 or more; received -1"),
        ({"momentum": 1}, "no field 'momentum'. Fields are optimizer, "),
    ],
)
def test_values_that_cannot_be_are_refused(fields, message):
    for make in (Recipe.from_dict, lambda f: Recipe().replace(**f)):
        with pytest.raises(ValueError, match=message):
            make(fields)


def test_numbers_are_plain_ones():
    given = {"batch_size": 2.0, "epochs": np.int64(3), "learning_rate": np.float32(0.5), "final": 1}
    recipe = Recipe(**given)
    assert type(recipe.batch_size) is int and recipe == Recipe.from_dict(given)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert (recipe.batch_size, recipe.epochs, recipe.learning_rate) == (2, 3, 0.5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizer_is_what_the_recipe_says(name):
    recipe = Recipe(optimizer=name, learning_rate=0.01, weight_decay=0.5, clip_norm=2.0)
    optimizer = recipe.make_optimizer(100)
    kind = {"adamw": AdamW, "lion": Lion, "sgd": SGD}[name]
    assert type(optimizer) is kind and optimizer.weight_decay == 0.5
    assert optimizer.global_clipnorm == 2.0
    schedule = warmup_cosine(0.01, 100)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for one in (optimizer, again):
        rates = []
        for step in (0, 5, 50, 100):
            one.iterations.assign(step)
            rates.append(float(one.learning_rate))
        assert rates == [float(schedule(step)) for step in (0, 5, 50, 100)]
        assert one.decayed == "matrices" and type(one) is kind


# === Following it ===


@pytest.mark.parametrize("recipe", [3, 0, {"epochs": 2}, Recipe], ids=repr)
def test_a_recipe_is_a_recipe(recipe):
    with pytest.raises(ValueError, match="recipe must be a keraslm.training.Recipe; received"):
        new().fit(TEXTS, recipe=recipe)
    with pytest.raises(ValueError, match="fields must be a dict; received 3"):
        Recipe.from_dict(3)


@pytest.mark.parametrize("argument", ["texts", "validation"])
def test_packed_rows_are_of_the_vocabulary(argument):
    lm = new()
    ids = np.array([0, lm.model.vocab_size] * 20, np.uint16)
    rows = pack(TokenStream(ids, np.array([0]), 40), length=16)
    with pytest.raises(ValueError, match=f"have the token id {lm.model.vocab_size}; those of the"):
        lm.fit(**{"texts": ROWS, argument: rows}, batch_size=2, verbose=0)
    with pytest.raises(ValueError, match="texts must be a list of str; received dict"):
        lm.fit(**{"texts": ROWS, argument: {"to be or not": 1}}, batch_size=2, verbose=0)


def test_fields_win_over_the_recipe_and_both_are_noted():
    lm = new()
    assert lm.recipe is None
    recipe = Recipe(learning_rate=3e-3, batch_size=4, epochs=3, optimizer="lion")
    history = lm.fit(ROWS, recipe=recipe, epochs=2, weight_decay=0.0, verbose=0).history
    assert lm.recipe == recipe.replace(epochs=2, weight_decay=0.0)
    assert len(history["loss"]) == 2 and isinstance(lm.model.optimizer, Lion)
    assert int(lm.model.optimizer.iterations) == 2 * (len(ROWS) // 4)


def test_a_later_fit_goes_on_or_begins_anew_as_it_is_asked():
    lm = new()
    per_epoch = len(ROWS) // 8
    lm.fit(ROWS, learning_rate=1e-3, verbose=0)
    first = lm.model.optimizer
    lm.fit(ROWS, epochs=2, verbose=0)  # nothing of the optimizer is given
    assert lm.model.optimizer is first and int(first.iterations) == 3 * per_epoch
    assert float(first.learning_rate) == pytest.approx(1e-4)  # the schedule was over
    assert lm.recipe == Recipe(learning_rate=1e-3, epochs=2)
    rates = []
    see = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(float(lm.model.optimizer.learning_rate))
    )
    lm.fit(ROWS, learning_rate=5e-3, verbose=0, callbacks=see)
    assert max(rates) == pytest.approx(5e-3) and len(rates) == per_epoch
    assert lm.model.optimizer is not first and lm.recipe == Recipe(learning_rate=5e-3)


def test_a_new_optimizer_keeps_what_else_was_compiled():
    lm = new()
    perplexity = Perplexity()
    lm.model.compile("sgd", weighted_metrics=[perplexity], run_eagerly=False)
    lm.fit(ROWS, verbose=0)
    assert isinstance(lm.model.optimizer, keras.optimizers.SGD) and lm.recipe is None
    history = lm.fit(ROWS, learning_rate=1e-3, jit_compile=False, verbose=0).history
    assert isinstance(lm.model.optimizer, AdamW) and "perplexity" in history


def test_steps_end_the_training():
    lm = new()
    per_epoch = len(ROWS) // 8
    steps = per_epoch + 2
    assert lm.fit(ROWS, steps=steps, verbose=0).epoch == [0, 1]
    assert int(lm.model.optimizer.iterations) == steps
    assert float(lm.model.optimizer.learning_rate) == pytest.approx(1e-4)


@pytest.mark.slow
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    stop = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: 1 / (2 - epoch))
    whole, cut, resumed = new(), new(), new()
    losses = whole.fit(ROWS, epochs=4, verbose=0).history["loss"]
    with pytest.raises(ZeroDivisionError):
        cut.fit(ROWS, epochs=4, verbose=0, callbacks=[backup(), stop])
    rest = resumed.fit(ROWS, epochs=4, verbose=0, callbacks=[backup()]).history["loss"]
    assert rest == losses[2:]
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# === Files ===


def test_recipe_and_decay_survive_files(tmp_path):
    lm = new()
    lm.fit(ROWS, learning_rate=2e-3, batch_size=4, verbose=0)
    lm.save(tmp_path / "bundle")
    again = keraslm.from_pretrained(tmp_path / "bundle")
    assert again.recipe == lm.recipe == Recipe(learning_rate=2e-3, batch_size=4)
    again.fit(ROWS, recipe=again.recipe.replace(epochs=2), verbose=0)
    lm.model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert float(loaded.optimizer.learning_rate) == float(lm.model.optimizer.learning_rate)
    assert decayed(loaded) == decayed(lm.model) == {"kernel"}


def test_a_part_of_ones_own_model_keeps_its_decay_rule(tmp_path):
    trunk = GPT(30, 1, 8, 2, max_length=16)
    ids = keras.Input((None,), dtype="int32")
    model = keras.Model(ids, keras.layers.Dense(3)(trunk(ids)))
    model.compile(AdamW(0.1, weight_decay=0.5), "mse")
    model.fit(np.zeros((2, 4), "int32"), np.zeros((2, 4, 3)), verbose=0)
    model.save(tmp_path / "m.keras")
    assert decayed(keras.models.load_model(tmp_path / "m.keras")) == {"kernel"}


def test_a_damaged_recipe_is_refused(tmp_path):
    lm = new()
    lm.fit(ROWS, verbose=0)
    file = lm.save(tmp_path / "bundle") / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "recipe": {"epochs": 0}}))
    with pytest.raises(ValueError, match="config.json is damaged: 'recipe': epochs must be"):
        keraslm.from_pretrained(tmp_path / "bundle")
