"""Text embeddings: one vector per text, for search or clustering."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, require, unknown
from mlm_jax.progress import Progress
from mlm_jax.training import partitioning
from mlm_jax.training.run import Run
from mlm_jax.workdir import atomic_file

POOLS = ("mean", "start")

# Texts tokenised at a time.
_CHUNK = 4096


def embed(
  run: Run,
  params,
  tokenizer: Tokenizer,
  texts: Sequence[str],
  pool: str = "mean",
  batch_size: int = 64,
  progress: Progress | None = None,
  longest: int = 0,
) -> np.ndarray:
  """Returns the encoder's pooled vector of each text, float32 [len(texts), D].

  Args:
    run: the model.
    params: its parameters.
    tokenizer: its tokenizer.
    texts: truncated to `longest`; they may be empty.
    pool: "mean" averages over all tokens of a text, start and end included, as
      sentence-transformers does (Reimers and Gurevych 2019); "start" takes the
      start token's vector.
    batch_size: texts per batch, rounded up to divide over the run's devices.
    progress: shows the number of embedded texts and reports truncated ones.
    longest: in tokens; by default the model's max_positions.

  Raises:
    InputError: an unknown pool, or a batch size that is not positive.
  """
  check_pool(pool)
  _check_size(batch_size)
  longest = longest or run.config.model.max_positions
  rows, num_truncated = _tokenize(tokenizer, texts, longest)
  if num_truncated and progress:
    limit = "that the model takes"
    if longest < run.config.model.max_positions:
      limit = "whose positions were trained"
    progress.say(
      f"{num_truncated:,} of {len(rows):,} texts were truncated to the "
      f"{longest} tokens {limit}"
    )
  num_devices = run.mesh.shape["data"] * run.mesh.shape["fsdp"]
  size = num_devices * -(-min(batch_size, len(rows) or 1) // num_devices)
  # Sorted by length, so that batches need little padding; the longest first, so
  # that a batch which does not fit into memory fails at once.
  order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
  vectors = np.empty([len(rows), run.config.model.width], np.float32)
  running = None
  for first in range(0, len(order), size):
    indices = order[first : first + size]
    batch = _pad([rows[i] for i in indices], size, longest)
    batch = partitioning.to_global(batch, run.mesh, size)
    done = running
    with partitioning.on(run.mesh):
      running = indices, _pooled(run.encode, pool, params, **batch)
    # Fetched while the device computes the next batch.
    _store(done, vectors)
    if progress:
      progress.advance(first)
  _store(running, vectors)
  if progress:
    progress.advance(len(rows))
  return vectors


def embed_file(
  texts: str,
  out: str,
  restore: Callable[[], tuple],
  pool: str = "mean",
  batch_size: int = 64,
) -> None:
  """Embeds each line of a file and writes the vectors.

  Args:
    texts: a UTF-8 file with one text per line.
    out: a .npy file for float32 [lines, D]; replaced if it exists.
    restore: returns a `TrainedModel`; called after the other arguments have
      been checked.
    pool: "mean" or "start".
    batch_size: texts per batch.

  Raises:
    InputError: the texts cannot be read, or `out` cannot be written.
  """
  check_pool(pool)
  _check_size(batch_size)
  lines = _read(texts)
  path = epath.Path(out).expanduser()
  require(path.suffix == ".npy", f"--out={out} must end in .npy")
  require(not path.is_dir(), f"--out={out} is a folder")
  # Created before the model is read, so that a bad path fails at once.
  with atomic_file(path, f"--out={out}") as file:
    run, params, tokenizer, _, longest = restore()
    with Progress(len(lines)) as progress:
      vectors = embed(
        *(run, params, tokenizer, lines, pool, batch_size, progress, longest)
      )
    np.save(file, vectors)
  progress.say(f"wrote float32 {list(vectors.shape)} to {path}")


def check_pool(pool: str, option: str = "--pool") -> None:
  """Raises InputError for a name of no pooling, which an option has given."""
  if pool not in POOLS:
    raise unknown(option, pool, POOLS)


def _check_size(batch_size):
  require(batch_size > 0, f"--batch_size must be positive, not {batch_size}")


def _read(texts: str) -> list[str]:
  path = epath.Path(texts).expanduser()
  require(path.exists(), f"no file at --texts={texts}")
  try:
    text = path.read_bytes().decode("utf-8-sig")
  except OSError as error:
    raise InputError(
      f"cannot read --texts={texts}: {error.strerror}"
    ) from error
  except UnicodeDecodeError as error:
    raise InputError(
      f"--texts={texts} is not UTF-8: byte {error.start:,} is "
      f"0x{error.object[error.start]:02x}"
    ) from error
  require(text != "", f"--texts={texts} is empty")
  # str.splitlines would also split at \x0b, \x1c, \u2028 and the like.
  return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def _tokenize(tokenizer, texts, longest) -> tuple[list[np.ndarray], int]:
  """Returns the ids of each text, and the number of truncated texts."""
  vocab, rows, num_truncated = tokenizer.vocabulary, [], 0
  for first in range(0, len(texts), _CHUNK):
    for ids in tokenizer.encode(texts[first : first + _CHUNK]):
      num_truncated += len(ids) > longest - 2
      ids = [vocab.start_id, *ids[: longest - 2], vocab.end_id]
      rows.append(np.array(ids, np.int32))
  return rows, num_truncated


def _pad(rows, size: int, longest: int) -> dict[str, np.ndarray]:
  lengths_B = np.zeros([size], np.int32)
  lengths_B[: len(rows)] = [len(row) for row in rows]
  # At most four lengths per power of two, so that few shapes compile and at
  # most a quarter of a row is padding.
  length = int(lengths_B.max())
  step = max(32, 1 << length.bit_length() >> 3)
  ids_BL = np.zeros([size, min(longest, -(-length // step) * step)], np.int32)
  for ids_L, row in zip(ids_BL, rows, strict=False):
    ids_L[: len(row)] = row
  return {"ids_BL": ids_BL, "lengths_B": lengths_B}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _pooled(encode, pool, params, *, ids_BL, lengths_B):
  index_BL = jnp.broadcast_to(jnp.arange(ids_BL.shape[1]), ids_BL.shape)
  is_token_BL = index_BL < lengths_B[:, None]
  x_BLD = encode(params, ids_BL, is_token_BL.astype(jnp.int32), index_BL)
  x_BLD = x_BLD.astype(jnp.float32)
  if pool == "start":
    return x_BLD[:, 0]
  sums_BD = jnp.sum(x_BLD * is_token_BL[..., None], axis=1)
  return sums_BD / jnp.maximum(lengths_B, 1)[:, None]


def _store(done, vectors) -> None:
  if done is not None:
    indices, pooled_BD = done
    vectors[indices] = np.asarray(pooled_BD)[: len(indices)]
