"""Pre-training of text encoders by masked language modelling.

The public API, in the order of use; each function is documented in
`mlm_jax.api`:

    import mlm_jax

    recipe = mlm_jax.load_recipe("quickstart", {"train.steps": 1200})
    mlm_jax.pretrain(recipe, "runs/mine")
    model = mlm_jax.restore("runs/mine")
    mlm_jax.fill_mask(model, "Returns a [MASK] of strings.")
    vectors = mlm_jax.embed(model, ["Returns a list.", "Opens a file."])
    mlm_jax.export_hf("runs/mine", "runs/mine_hf")
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
  "average_checkpoints",
  "embed",
  "embed_file",
  "evaluate",
  "export_hf",
  "export_onnx",
  "fill_mask",
  "import_hf",
  "load_recipe",
  "mask_predict",
  "prepare",
  "pretrain",
  "restore",
]

if TYPE_CHECKING:
  from mlm_jax.api import (
    average_checkpoints,
    embed,
    embed_file,
    evaluate,
    export_hf,
    export_onnx,
    fill_mask,
    import_hf,
    load_recipe,
    mask_predict,
    prepare,
    pretrain,
    restore,
  )


def __getattr__(name: str) -> Any:
  # JAX and TensorFlow are imported when they are needed, and not for --help.
  if name in __all__:
    from mlm_jax import api

    return getattr(api, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
