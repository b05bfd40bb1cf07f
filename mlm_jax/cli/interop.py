"""The commands that make a model of others; they import what they need."""

from mlm_jax import recipes


def export_hf(args) -> None:
  from mlm_jax import api

  api.export_hf(
    args.workdir,
    args.out,
    args.checkpoint,
    part=args.part,
    family=args.family,
    max_tokens=args.max_tokens,
    sentence_transformers=args.sentence_transformers,
    push_to_hub=args.push_to_hub,
    check_parity=not args.no_parity,
  )


def export_onnx(args) -> None:
  from mlm_jax import api

  api.export_onnx(
    args.workdir,
    args.out,
    args.checkpoint,
    pool=args.pool,
    max_tokens=args.max_tokens,
  )


def average_checkpoints(args) -> None:
  from mlm_jax import api

  api.average_checkpoints(
    args.sources,
    args.workdir,
    method=args.method,
    base=args.base,
    density=args.density,
  )


def import_hf(args) -> None:
  from mlm_jax import api

  larger = recipes.load(args.grow_to).base.model if args.grow_to else None
  api.import_hf(
    args.source,
    args.workdir,
    api.Changes(
      add_mask_token=args.add_mask_token,
      new_head=args.new_head,
      tokens=args.add_tokens,
      max_positions=args.max_positions,
      rope_theta=args.rope_theta,
      larger=larger,
      sentence_pairs=args.sentence_pairs,
      generator=args.generator,
    ),
    revision=args.revision,
    check_parity=not args.no_parity,
  )
