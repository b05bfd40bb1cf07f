"""What makes a model folder one of sentence-transformers: its pooling.

Reimers and Gurevych 2019.
"""

import pathlib

from mlm_jax.errors import require
from mlm_jax.hf.files import json_bytes

# Of `embed.POOLS`, the key that sentence-transformers sets.
_KEYS = {"mean": "pooling_mode_mean_tokens", "start": "pooling_mode_cls_token"}

_MODULES = (
  ("", "sentence_transformers.models.Transformer"),
  ("1_Pooling", "sentence_transformers.models.Pooling"),
)


def write(folder: pathlib.Path, pool: str, width: int, max_tokens: int) -> None:
  """Adds the files of sentence-transformers to a model folder.

  Args:
    folder: what transformers loads.
    pool: "mean" over all tokens, or "start", the start token's vector.
    width: of the vectors.
    max_tokens: where texts are cut.
  """
  require((folder / "config.json").is_file(), f"{folder} has no config.json")
  modules = [
    {"idx": number, "name": str(number), "path": path, "type": name}
    for number, (path, name) in enumerate(_MODULES)
  ]
  pooling = {"word_embedding_dimension": width}
  pooling |= {key: name == pool for name, key in _KEYS.items()}
  limits = {"max_seq_length": max_tokens, "do_lower_case": False}
  (folder / "1_Pooling").mkdir()
  for name, values in (
    ("modules.json", modules),
    ("sentence_bert_config.json", limits),
    ("1_Pooling/config.json", pooling),
  ):
    (folder / name).write_bytes(json_bytes(values))
