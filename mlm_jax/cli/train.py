"""The commands that prepare and train. Their imports wait until they are needed."""

from mlm_jax.config import Config
from mlm_jax.errors import InputError, require
from mlm_jax.host_memory import keep_freed_memory
from mlm_jax.workdir import Workdir

# What `train` exits with when it was stopped: of sysexits.h, "try again". Launchers
# tell it from the end of a run.
STOPPED = 75


def prepare(args, config: Config) -> None:
  from mlm_jax.data.prepare import prepare

  workdir = Workdir.at(args.workdir)
  workdir.check(config)
  prepare(config, workdir)
  workdir.save_config(config)


def train(args, config: Config) -> None:
  keep_freed_memory()
  _join_processes(args)
  import jax

  from mlm_jax.data import pipeline, prepare
  from mlm_jax.data.host_tensorflow import iterate
  from mlm_jax.evaluation import heldout
  from mlm_jax.training import loop, partitioning
  from mlm_jax.training.run import Run

  workdir = Workdir.at(args.workdir)
  workdir.check(config)
  # What is wrong with the mesh should not be learnt after hours of preparing.
  mesh = partitioning.make_mesh(config)
  if jax.process_index() == 0:
    for key, (old, new) in workdir.changed(config).items():
      print(f"{key} is {new!r} from here on, and was {old!r}")
    tokenizer, store = prepare.prepare(config, workdir)
    workdir.save_config(config)
  partitioning.wait_for_all("prepared")
  if jax.process_index() > 0:
    tokenizer, store = prepare.load(config, workdir)
  run = Run(config, tokenizer.vocabulary, mesh)

  def batches_from(step):
    return iterate(
      pipeline.train_batches(
        config, store, run.vocab, first_step=step, local_rows=run.local_rows
      )
    )

  evaluate = None
  if config.data.heldout_fraction:
    evaluate = heldout.evaluator(run, store)
  if not loop.train(run, workdir, batches_from, evaluate):
    raise SystemExit(STOPPED)


def _join_processes(args) -> None:
  import jax

  given = (args.coordinator, args.num_processes, args.process_id)
  if given != (None, None, None):
    require(
      None not in given,
      "--coordinator, --num_processes and --process_id belong together",
    )
  elif args.multihost:
    given = ()  # TPU pods and SLURM tell.
  else:
    return
  try:
    jax.distributed.initialize(*given)
  except (RuntimeError, ValueError) as error:
    reason = str(error).strip().partition("\n")[0]
    raise InputError(f"cannot join the other processes: {reason}") from error
