"""Hugging Face's families as data: what their configs and tensors are called here.

A family is a `Family`: rules for ``config.json`` and a table of names. Both are read in either
direction, so a family that loads also saves. ``{i}`` is the number of a block.
"""

from keraslm.interop.decoders import (
    GEMMA2,
    GEMMA3,
    GPT2,
    GPT_NEOX,
    LLAMA,
    MISTRAL,
    PHI3,
    QWEN2,
    QWEN3,
    STARCODER2,
)
from keraslm.interop.rows import ACTIVATIONS, Family, Row, dense, norm

__all__ = ["ACTIVATIONS", "FAMILIES", "Family", "Row"]

# === Encoders ===


def _encoder_rows(attention, output, output_norm, up, down, down_norm):
    names = zip(("query", "key", "value", "output"), (*attention, output), strict=True)
    return [
        *(row for ours, theirs in names for row in dense(f"block_{{i}}/attention/{ours}", theirs)),
        *norm("block_{i}/attention_norm", output_norm),
        *dense("block_{i}/feed_forward/up", up),
        *dense("block_{i}/feed_forward/down", down),
        *norm("block_{i}/feed_forward_norm", down_norm),
    ]


_LAYER = "encoder.layer.{i}"
_BERT_BLOCK = _encoder_rows(
    [f"{_LAYER}.attention.self.{name}" for name in ("query", "key", "value")],
    f"{_LAYER}.attention.output.dense", f"{_LAYER}.attention.output.LayerNorm",
    f"{_LAYER}.intermediate.dense", f"{_LAYER}.output.dense", f"{_LAYER}.output.LayerNorm",
)  # fmt: skip
_BERT_FIELDS = {
    "vocab_size": "vocab_size", "num_layers": "num_hidden_layers", "d_model": "hidden_size",
    "num_heads": "num_attention_heads", "ffn_dim": "intermediate_size",
    "max_length": "max_position_embeddings", "dropout": "hidden_dropout_prob",
    "norm_epsilon": "layer_norm_eps", "activation": "hidden_act", "token_types": "type_vocab_size",
}  # fmt: skip
_BERT_DEFAULTS = {"hidden_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
                  "type_vocab_size": 2, "max_position_embeddings": 512}  # fmt: skip
_POOLER = tuple(dense("pooler", "{prefix}pooler.dense"))
_CLASSIFIER = tuple(dense("classifier", "classifier"))
_SPAN = tuple(dense("span", "qa_outputs"))


def _bert_like(name, skip, masked_lm, classifier, heads=()):
    return Family(
        builder="BERT",
        fields=_BERT_FIELDS,
        constants={},
        defaults=_BERT_DEFAULTS,
        rows=(
            Row("token_embedding/embeddings", "embeddings.word_embeddings.weight"),
            Row("positions/embeddings", "embeddings.position_embeddings.weight", skip=skip),
            Row("token_type_embedding/embeddings", "embeddings.token_type_embeddings.weight"),
            *norm("embedding_norm", "embeddings.LayerNorm"),
            *_BERT_BLOCK,
        ),
        prefix=f"{name.lower()}.",
        heads={
            None: (f"{name}Model", ()),
            "pooled": (f"{name}Model", _POOLER),
            "masked_lm": (f"{name}ForMaskedLM", masked_lm),
            "classifier": (f"{name}ForSequenceClassification", classifier),
            "token_classifier": (f"{name}ForTokenClassification", _CLASSIFIER),
            "span": (f"{name}ForQuestionAnswering", _SPAN),
            **dict(heads),
        },
        fixed={
            "position_embedding_type": "absolute",
            "is_decoder": False,
            "add_cross_attention": False,
        },
    )


_NEXT = ("BertForNextSentencePrediction",
         (*_POOLER, *dense("next_sentence", "cls.seq_relationship")))  # fmt: skip
BERT = _bert_like(
    "Bert", 0,
    (*dense("masked_lm/transform", "cls.predictions.transform.dense"),
     *norm("masked_lm/norm", "cls.predictions.transform.LayerNorm"),
     Row("token_bias/bias", "cls.predictions.bias")),
    (*_POOLER, *_CLASSIFIER), {"next_sentence": _NEXT},
)  # fmt: skip
ROBERTA = _bert_like(
    "Roberta", 2,
    (*dense("masked_lm/transform", "lm_head.dense"),
     *norm("masked_lm/norm", "lm_head.layer_norm"),
     Row("token_bias/bias", "lm_head.bias")),
    (*dense("pooler", "classifier.dense"), *dense("classifier", "classifier.out_proj")),
)  # fmt: skip
ROBERTA = ROBERTA._replace(
    constants={"activation": "gelu"},  # that of its head, whatever hidden_act is
    # Positions begin after the id of the padding.
    fixed={**ROBERTA.fixed, "hidden_act": "gelu", "pad_token_id": 1},
)
XLM_ROBERTA = ROBERTA._replace(
    heads={head: (name.replace("Roberta", "XLMRoberta"), rows)
           for head, (name, rows) in ROBERTA.heads.items()}
)  # fmt: skip

_DISTIL = "transformer.layer.{i}"
DISTILBERT = Family(
    builder="BERT",
    fields={"vocab_size": "vocab_size", "num_layers": "n_layers", "d_model": "dim",
            "num_heads": "n_heads", "ffn_dim": "hidden_dim",
            "max_length": "max_position_embeddings", "dropout": "dropout",
            "activation": "activation"},
    constants={"token_types": 0},
    defaults={"dropout": 0.1, "activation": "gelu", "max_position_embeddings": 512},
    rows=(
        Row("token_embedding/embeddings", "embeddings.word_embeddings.weight"),
        Row("positions/embeddings", "embeddings.position_embeddings.weight"),
        *norm("embedding_norm", "embeddings.LayerNorm"),
        *_encoder_rows(
            [f"{_DISTIL}.attention.{name}_lin" for name in "qkv"], f"{_DISTIL}.attention.out_lin",
            f"{_DISTIL}.sa_layer_norm", f"{_DISTIL}.ffn.lin1", f"{_DISTIL}.ffn.lin2",
            f"{_DISTIL}.output_layer_norm",
        ),
    ),
    prefix="distilbert.",
    heads={
        None: ("DistilBertModel", ()),
        "masked_lm": (
            "DistilBertForMaskedLM",
            (*dense("masked_lm/transform", "vocab_transform"),
             *norm("masked_lm/norm", "vocab_layer_norm"),
             Row("token_bias/bias", "vocab_projector.bias")),
        ),
        "classifier": ("DistilBertForSequenceClassification",
                       (*dense("pooler", "pre_classifier"), *_CLASSIFIER)),
        "token_classifier": ("DistilBertForTokenClassification", _CLASSIFIER),
        "span": ("DistilBertForQuestionAnswering", _SPAN),
    },
    options={"pooler_activation": "relu"},
)  # fmt: skip

# By ``model_type``.
FAMILIES = {
    "gpt2": GPT2,
    "bert": BERT,
    "roberta": ROBERTA,
    "xlm-roberta": XLM_ROBERTA,
    "distilbert": DISTILBERT,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma2": GEMMA2,
    "gemma3_text": GEMMA3,
    "phi3": PHI3,
    "gpt_neox": GPT_NEOX,
    "starcoder2": STARCODER2,
}
