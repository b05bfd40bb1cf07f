"""Exports a model folder to ONNX, for servers that run neither JAX nor PyTorch.

PyTorch's exporter translates the model of transformers, whose outputs the ONNX
model is held against.
"""

import importlib.util
import logging
import pathlib
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from etils import epath

from mlm_jax.errors import InputError, first_line, require
from mlm_jax.evaluation.embed import check_pool
from mlm_jax.hf import exporting, families, parity
from mlm_jax.training.restoring import TrainedModel
from mlm_jax.workdir import Workdir, atomic_file

# Of a protobuf message, which an ONNX file is.
_MAX_BYTES = 2**31 - 1

_NUM_TIMED, _TIMED_TOKENS = 20, 128


def check(out: str, pool: str) -> epath.Path:
  """Returns the path of a file to write, once it can be.

  Raises:
    InputError: it is no .onnx file, no pooling has that name, or a package is
      missing.
  """
  path = epath.Path(out).expanduser()
  require(path.suffix == ".onnx", f"--out={out} must end in .onnx")
  require(not path.exists(), f"--out={out} already exists")
  if pool:
    check_pool(pool)
  packages = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")
  missing = [p for p in packages if importlib.util.find_spec(p) is None]
  require(
    not missing,
    f"export_onnx needs {', '.join(missing)}: pip install 'mlm_jax[onnx]'",
  )
  return path


def export(
  workdir: Workdir,
  trained: TrainedModel,
  path: epath.Path,
  *,
  max_tokens: int = 0,
  pool: str = "",
  say: Callable[[str], None] = print,
) -> None:
  """Writes the ONNX model of a trained one.

  Args:
    workdir, trained, max_tokens: as for `exporting.export`.
    path: the file, as `check` returned it.
    pool: as for `write`.
    say: receives what was written.

  Raises:
    InputError: transformers has no such encoder, or the models differ.
  """
  model, *_ = exporting.submodel(trained)
  tokenizer, vocab = trained.tokenizer, trained.tokenizer.vocabulary
  family = families.of_model(model, vocab)
  require(
    family and not family.decoder_block,
    "export_onnx is for encoders that transformers has",
  )
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder) / "model"
    exporting.export(
      workdir,
      trained,
      folder,
      family_name=family.model_type,
      max_tokens=max_tokens,
      # The temporary folder is of no interest.
      say=lambda line: None if line.startswith("Wrote") else say(line),
    )
    longest = max_tokens or trained.max_tokens
    write(
      folder,
      path,
      parity.documents(tokenizer, vocab, longest),
      vocab.pad_id,
      architecture=family.architecture,
      pool=pool,
      say=say,
    )


def write(
  folder: pathlib.Path,
  path: epath.Path,
  docs: Sequence[Sequence[int]],
  pad_id: int,
  *,
  architecture: str,
  pool: str,
  say: Callable[[str], None],
) -> None:
  """Writes an ONNX model of int64 input_ids and attention_mask [batch, length].

  Its output is float32 logits [batch, length, ...] or vectors [batch, width].

  Args:
    folder: what transformers loads.
    path: the file.
    docs: ids of documents to compare on.
    pad_id: fills them up.
    architecture: the class of transformers.
    pool: "" for logits, or how an encoder's vectors are pooled.
    say: receives what was written.

  Raises:
    InputError: the model cannot be exported, or the two models differ.
  """
  model = _module(folder, architecture, pool)
  ids, mask = (a.astype(np.int64) for a in parity.padded(docs, pad_id))
  output = "vectors" if pool else "logits"
  content = _exported(model, ids, mask, output)
  run = _session(content)
  difference = 0.0
  # The second is of another size than what was traced.
  for rows in ((ids, mask), (ids[1:3, :9], mask[1:3, :9])):
    compared = _compared(rows[1], pool)
    found = np.abs(run(*rows) - _run(model, *rows))[compared].max()
    difference = float(np.maximum(difference, found))  # max loses a NaN.
  require(
    difference <= parity.TOLERANCE,
    f"the ONNX model differs by {difference:.1e}, more than "
    f"{parity.TOLERANCE:.0e}. Please report this",
  )
  with atomic_file(path) as file:
    file.write(content)
  length = min(_TIMED_TOKENS, ids.shape[1])
  text = np.resize(ids[:1], [1, length]), np.ones([1, length], np.int64)
  times = []
  for _ in range(_NUM_TIMED):
    start = time.perf_counter()
    run(*text)
    times.append(time.perf_counter() - start)
  say(
    f"Wrote {path}: {len(content) / 1e6:.1f} MB; {output} differ by "
    f"{difference:.1e} from transformers'; a text of {length} tokens takes "
    f"{1e3 * statistics.median(times):.1f} ms here"
  )


def _compared(mask, pool):
  """Returns what is compared of an output: no logits of padding."""
  return slice(None) if pool else mask > 0


def _module(folder, architecture, pool):
  import torch

  class_name = "AutoModel" if pool else architecture
  inner = parity.load_peer(folder, class_name, attn_implementation="eager")

  class Module(torch.nn.Module):
    """Logits, or pooled vectors."""

    def __init__(self):
      super().__init__()
      self.inner = inner

    def forward(self, input_ids, attention_mask):
      out = self.inner(input_ids=input_ids, attention_mask=attention_mask)
      if not pool:
        return out.logits
      vectors = out.last_hidden_state
      if pool == "start":
        return vectors[:, 0]
      mask = attention_mask[..., None].to(vectors.dtype)
      return (vectors * mask).sum(1) / mask.sum(1)

  return Module().eval()


def _exported(model, ids, mask, output) -> bytes:
  import torch

  dims = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
  try:
    # It warns of packages that a text model has no use for.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      program = torch.onnx.export(
        model,
        (torch.tensor(ids), torch.tensor(mask)),
        input_names=["input_ids", "attention_mask"],
        output_names=[output],
        dynamic_shapes={"input_ids": dims, "attention_mask": dims},
        dynamo=True,
        verbose=False,
      )
      proto = program.model_proto
      size = proto.ByteSize()
  except Exception as error:  # The exporter may raise anything.
    reason = first_line(error)
    raise InputError(
      f"PyTorch cannot export this model to ONNX: {reason}"
    ) from error
  require(
    size <= _MAX_BYTES,
    f"the ONNX model has {size / 1e9:.1f} GB, and one file 2 GB at most",
  )
  return proto.SerializeToString()


def _session(content: bytes):
  """Returns the function that onnxruntime makes of a model."""
  import onnxruntime

  session = onnxruntime.InferenceSession(
    content, providers=["CPUExecutionProvider"]
  )
  return lambda ids, mask: session.run(
    None, {"input_ids": ids, "attention_mask": mask}
  )[0]


def _run(model, ids, mask) -> np.ndarray:
  import torch

  with torch.inference_mode():
    return model(torch.tensor(ids), torch.tensor(mask)).numpy()
