"""The commands to and from Hugging Face. Their imports wait until they are needed."""

import pathlib

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.errors import unknown
from mlm_jax.workdir import Workdir


def export_hf(args) -> None:
  from mlm_jax.hf.exporting import export
  from mlm_jax.objectives import require_support
  from mlm_jax.training.restoring import restore

  workdir = Workdir.at(args.workdir)
  require_support(workdir.load_config(), "export_hf")
  run, params, tokenizer, step = restore(workdir, args.checkpoint)
  submodels = run.objective.submodels(params)
  part = args.part or next(iter(submodels))
  if part not in submodels:
    raise unknown("--part", part, submodels)
  export(
    workdir,
    run.config,
    *submodels[part],
    tokenizer,
    pathlib.Path(args.out).expanduser(),
    step=step,
    family_name=args.family,
    check=not args.no_parity,
  )


def import_hf(args) -> None:
  from mlm_jax.hf.importing import Changes, import_model

  larger = None
  if args.grow_to:
    larger = config_lib.build(recipes.read(args.grow_to).values)
  import_model(
    args.source,
    Workdir.at(args.workdir),
    Changes(
      add_mask_token=args.add_mask_token,
      new_head=args.new_head,
      tokens=args.add_tokens,
      max_positions=args.max_positions,
      rope_theta=args.rope_theta,
      larger=larger and larger.model,
    ),
    check=not args.no_parity,
  )
