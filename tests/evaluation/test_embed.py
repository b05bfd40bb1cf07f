"""Embeddings, against those of each text alone without padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlm_jax.config import DataConfig
from mlm_jax.data import tokenizers
from mlm_jax.errors import InputError
from mlm_jax.evaluation import embed as embed_lib
from mlm_jax.evaluation.embed import embed, embed_file
from mlm_jax.progress import Progress
from mlm_jax.training.run import Run

LONGEST = 72
WORDS = "assert statements are a convenient way to insert assertions"
TEXTS = ["a program", WORDS, "", "Python", " ".join([WORDS] * 9), "the import"]
TEXTS += [WORDS[i : 4 * i] for i in range(3, 15, 3)]


@pytest.fixture(scope="module")
def tokenizer(corpus):
  data = DataConfig(tokenizer="bpe", vocab_size=400)
  return tokenizers.train(corpus.read_text().split("\n\n")[:20], data)


@pytest.fixture
def make_model(make_config, tokenizer):
  def make(devices=1, **overrides):
    sizes = {"model.max_positions": LONGEST, "data.vocab_size": 400}
    config = make_config(**(sizes | overrides))
    run = Run.on(config, tokenizer.vocabulary, jax.local_devices()[:devices])
    # Larger than at initialization, so that differences show.
    params = jax.tree.map(lambda x: x * 3, run.init_state().params)
    return run, params, tokenizer

  return make


def alone(run, params, tokenizer, text):
  """Returns the vector of each token of a text, [L, D], without padding."""
  vocab = tokenizer.vocabulary
  ids = tokenizer.encode([text])[0][: LONGEST - 2]
  ids = jnp.array([[vocab.start_id, *ids, vocab.end_id]])
  positions = jnp.arange(ids.shape[1])[None]
  return np.asarray(run.encode(params, ids, jnp.ones_like(ids), positions)[0])


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "kind"), [(1, "learned"), (4, "rope")])
def test_pooled_vectors_are_those_of_each_text_alone(make_model, devices, kind):
  overrides = {"model.position_kind": kind}
  model = make_model(devices, **overrides)
  by_hand = [alone(*model, text) for text in TEXTS]
  mean = embed(*model, TEXTS, batch_size=4)
  assert mean.dtype == np.float32 and mean.shape == (len(TEXTS), 32)
  np.testing.assert_allclose(mean, [x.mean(0) for x in by_hand], atol=1e-5)
  start = embed(*model, TEXTS, "start", batch_size=4)
  np.testing.assert_allclose(start, [x[0] for x in by_hand], atol=1e-5)


def test_vectors_do_not_depend_on_batch_size_or_order(make_model):
  model = make_model()
  one = embed(*model, TEXTS, batch_size=1)
  all_at_once = embed(*model, TEXTS, batch_size=64)
  backwards = embed(*model, TEXTS[::-1], batch_size=5)
  np.testing.assert_allclose(one, all_at_once, atol=1e-5)
  np.testing.assert_allclose(one, backwards[::-1], atol=1e-5)
  assert np.abs(np.diff(one, axis=0)).max(1).min() > 1e-2
  assert embed(*model, []).shape == (0, 32)


def test_padded_lengths_are_few_and_rows_mostly_full():
  padded = {}
  for length in range(2, 8193):
    batch = embed_lib._pad([np.zeros(length, np.int32)], 1, 8192)
    padded[length] = batch["ids_BL"].shape[1]
  assert len(set(padded.values())) <= 30
  assert all(n <= padded[n] <= max(32 + n - 1, 1.25 * n) for n in padded)


def test_long_texts_are_truncated_and_counted(make_model, capsys):
  model = make_model()
  long = " ".join([WORDS] * 20)
  with Progress(3) as progress:
    vectors = embed(*model, [long, "short", long + " more"], progress=progress)
  np.testing.assert_array_equal(vectors[0], vectors[2])
  assert (
    "2 of 3 texts were truncated to the 72 tokens" in capsys.readouterr().out
  )


def test_embed_file_writes_a_vector_per_line(make_model, tmp_path, capsys):
  model = make_model()
  texts, out = tmp_path / "texts.txt", tmp_path / "new" / "out.npy"
  texts.write_bytes("a program\r\n\nz\u00e9ro \u2028 one\n".encode())
  embed_file(str(texts), str(out), lambda: (*model, 0, 72))
  expected = embed(*model, ["a program", "", "z\u00e9ro \u2028 one"])
  np.testing.assert_array_equal(np.load(out), expected)
  assert "wrote float32 [3, 32]" in capsys.readouterr().out
  # An existing file is replaced.
  embed_file(str(texts), str(out), lambda: (*model, 0, 72), "start")
  assert np.abs(np.load(out) - expected).max() > 1e-3
  assert [path.name for path in out.parent.iterdir()] == ["out.npy"]


@pytest.mark.parametrize(
  ("content", "change", "message"),
  [
    (None, {}, "no file at --texts="),
    (b"", {}, "is empty"),
    (b"caf\xe9", {}, "not UTF-8: byte 3 is 0xe9"),
    (b"a", {"out": "out.txt"}, "must end in .npy"),
    (b"a", {"out": "texts.txt/out.npy"}, "cannot write --out="),
    (b"a", {"pool": "means"}, "unknown --pool 'means'; did you mean 'mean'?"),
    (b"a", {"batch_size": 0}, "--batch_size must be positive, not 0"),
  ],
)
def test_bad_input_is_an_error_before_the_model_is_read(
  tmp_path, content, change, message
):
  texts = tmp_path / "texts.txt"
  if content is not None:
    texts.write_bytes(content)
  change = dict(change)
  out = str(tmp_path / change.pop("out", "out.npy"))
  with pytest.raises(InputError) as error:
    embed_file(str(texts), out, pytest.fail, **change)
  assert not list(tmp_path.glob("*.partial*"))
  assert message in str(error.value) and "\n" not in str(error.value)
