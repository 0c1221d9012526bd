"""One tiny language model that has been trained on strings, for all tests of tasks to read."""

from __future__ import annotations

import keras
import pytest

import keras_lm as klm
from keras_lm.tasks import CausalLM
from keras_lm.tokenizers import BytePairTokenizer

TEXTS = [
    f"{who} {what} {where}.\n{more}"
    for who in ("The cat", "A dog", "My naïve friend", "Everyone")
    for what in ("sat on", "looked at", "jumped over")
    for where, more in (("the mat", "Then it slept."), ("a café 🙂", "Why not?"))
]
END = "<|endoftext|>"


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return list(TEXTS)


@pytest.fixture(scope="session")
def tokenizer() -> BytePairTokenizer:
    return BytePairTokenizer.train(texts=TEXTS, vocab_size=300)


@pytest.fixture(scope="session")
def config(tokenizer: BytePairTokenizer) -> klm.TransformerConfig:
    return klm.TransformerConfig(
        vocab_size=tokenizer.vocab_size, num_layers=1, hidden_dim=16, num_heads=2, max_length=48
    )


@pytest.fixture
def fresh(config: klm.TransformerConfig, tokenizer: BytePairTokenizer) -> CausalLM:
    """An untrained task, for a test to change as it likes."""
    return CausalLM(klm.models.Decoder(config), tokenizer, sequence_length=24)


@pytest.fixture(scope="session")
def trained(config: klm.TransformerConfig, tokenizer: BytePairTokenizer) -> CausalLM:
    """A trained task. Tests leave it as it is."""
    keras.utils.set_random_seed(0)
    task = CausalLM(klm.models.Decoder(config), tokenizer, sequence_length=24)
    task.compile(klm.training.default_optimizer(0.02))
    task.fit(TEXTS, batch_size=8, epochs=12, verbose=0)
    return task
