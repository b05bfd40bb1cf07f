"""The commands that prepare and train. Their imports wait until needed."""

from mlm_jax.errors import InputError, first_line, require
from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.phases import Recipe

# The exit code of an interrupted `train`, "try again" in sysexits.h: launchers
# restart it.
STOPPED = 75


def prepare(args, recipe: Recipe) -> None:
  from mlm_jax import api

  options = [f"--runner={args.runner}"] if args.runner else []
  require(
    args.runner or not args.beam_option,
    "--beam_option is for --runner=RUNNER",
  )
  api.prepare(recipe, args.workdir, beam_options=[*options, *args.beam_option])


def train(args, recipe: Recipe) -> None:
  if args.dry_run is not None:
    _dry_run(args, recipe)
    return
  require(args.workdir, "--workdir=DIR is needed")
  keep_freed_memory()
  _join_processes(args)
  from mlm_jax import api

  finished = api.pretrain(
    recipe,
    args.workdir,
    stop_after_phase=args.stop_after_phase,
    force=args.force,
  )
  if not finished:
    raise SystemExit(STOPPED)


def _dry_run(args, recipe: Recipe) -> None:
  from mlm_jax.tools import dry_run
  from mlm_jax.workdir import Workdir

  workdir = Workdir.at(args.workdir) if args.workdir else None
  if workdir:
    recipe, _ = workdir.adapt(recipe)
    workdir.check(recipe)
  print(dry_run.describe(recipe, workdir))
  if args.dry_run:
    dry_run.save_plot(recipe, args.dry_run)
    print(f"\nWrote {args.dry_run}")


def _join_processes(args) -> None:
  import jax

  given = (args.coordinator, args.num_processes, args.process_id)
  if given != (None, None, None):
    require(
      None not in given,
      "--coordinator, --num_processes and --process_id belong together",
    )
  elif args.multihost:
    given = ()  # JAX asks the TPU pod or SLURM.
  else:
    return
  try:
    jax.distributed.initialize(*given)
  except (RuntimeError, ValueError) as error:
    reason = first_line(error)
    raise InputError(f"cannot join the other processes: {reason}") from error
