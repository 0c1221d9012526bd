"""TensorFlow Datasets: its own mocks, and a builder over local files."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
import tensorflow_datasets

from keras_lm.data.sources import tfds, tsv


@pytest.mark.parametrize(
    ("name", "field"),
    [("imdb_reviews", "text"), ("glue/sst2", "sentence"), ("tiny_shakespeare", "text")],
)
def test_a_field_is_a_data_set_of_strings(name, field):
    with tensorflow_datasets.testing.mock_data(num_examples=3):
        texts = list(tfds(name, fields=field).as_numpy_iterator())
    assert len(texts) == 3
    assert all(isinstance(text, bytes) and text.decode() for text in texts)


def test_fields_are_chosen():
    with tensorflow_datasets.testing.mock_data(num_examples=2):
        assert set(tfds("glue/mrpc").element_spec) == {"sentence1", "sentence2", "label", "idx"}
        pairs = tfds("glue/mrpc", split="test", fields=["sentence2", "label"])
        assert list(pairs.element_spec) == ["sentence2", "label"]
        assert pairs.element_spec["sentence2"].dtype == tf.string
        with pytest.raises(ValueError, match=r"fields names 'text'; 'glue/mrpc' has \['idx'"):
            tfds("glue/mrpc", fields="text")
        with pytest.raises(ValueError, match=r"fields names 'nothing'"):
            tfds("glue/mrpc", fields=["label", "nothing"])


def test_an_unknown_name_or_configuration_is_an_error_of_one_line():
    with pytest.raises(ValueError, match=r"name is 'no_such_set'; .* no such data set$"):
        tfds("no_such_set")
    with pytest.raises(ValueError, match="no_such_part"):
        tfds("glue/no_such_part")


class LocalReviews(tensorflow_datasets.core.GeneratorBasedBuilder):
    """A builder over one local file."""

    # As in a script of one's own: of a class in a package, tensorflow-datasets 4.9 asks a package
    # that it does not install (importlib_resources).
    __module__ = "local_reviews"
    VERSION = tensorflow_datasets.core.Version("1.0.0")
    path: Path

    def _info(self):
        return tensorflow_datasets.core.DatasetInfo(
            builder=self,
            features=tensorflow_datasets.features.FeaturesDict(
                {
                    "text": tensorflow_datasets.features.Text(),
                    "label": tensorflow_datasets.features.ClassLabel(names=["0", "1"]),
                }
            ),
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        rows = tsv(self.path)
        for number, (text, label) in enumerate(zip(*rows.values())):
            yield number, {"text": text, "label": label}


def test_a_builder_over_local_files(tmp_path):
    LocalReviews.path = tmp_path / "reviews.tsv"
    LocalReviews.path.write_text(
        "text\tlabel\n" + "".join(f"review {i} é\t{i % 2}\n" for i in range(10)), encoding="utf-8"
    )
    texts = [
        text.decode()
        for text in tfds(
            "local_reviews", fields="text", data_dir=tmp_path / "sets"
        ).as_numpy_iterator()
    ]
    assert sorted(texts) == [f"review {i} é" for i in range(10)]
    first = tfds("local_reviews", split="train[:20%]", data_dir=tmp_path / "sets")
    again = tfds("local_reviews", data_dir=tmp_path / "sets", fields="text")
    assert len(first) == 2
    assert [text.decode() for text in again.as_numpy_iterator()] == texts
    with pytest.raises(ValueError, match="nope"):
        tfds("local_reviews", split="nope", data_dir=tmp_path / "sets")
