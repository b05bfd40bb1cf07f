"""The table of the commands, and the parsers that it is read into."""

import argparse
import dataclasses
from collections.abc import Callable

from mlm_jax.cli import inspect, interop, predict, train
from mlm_jax.cli.show_config import show_config
from mlm_jax.errors import InputError, unknown


@dataclasses.dataclass(frozen=True)
class Command:
  """A row of the table.

  Attributes:
    run: takes the parsed arguments, and the configuration if it wants one.
    about: one line of help.
    configured: does it take --config?
    needs_workdir: must --workdir be given?
    arguments: what it takes beside these, as argparse has it.
    examples: of arguments, as a shell has them; --help ends with them.
  """

  run: Callable[..., None]
  about: str
  configured: bool = False
  needs_workdir: bool = True
  arguments: tuple[tuple[str, dict], ...] = ()
  examples: tuple[str, ...] = ()


CHECKPOINT = (
  "--checkpoint",
  {
    "default": "last",
    "metavar": "last|best|STEP[:ema]",
    "help": "which one to use; best has the lowest held-out loss, :ema is the "
    "running average of its weights",
  },
)

PHASE = (
  "--phase",
  {"metavar": "NAME", "help": "of a recipe with phases; by default the first"},
)

NO_PARITY = (
  "--no-parity",
  {
    "action": "store_true",
    "help": "do not compare the logits of the two models",
  },
)

COMMANDS = {
  "prepare": Command(
    train.prepare,
    "train the tokenizer and write the rows of a corpus",
    configured=True,
    arguments=(
      ("--runner", {"default": "", "metavar": "RUNNER",
        "help": "have Apache Beam write the rows, such as DirectRunner, by "
        "default all cores of this machine do"}),
      ("--beam_option", {"action": "append", "default": [],
        "metavar": "--NAME=VALUE",
        "help": "an option of the runner's; repeatable"}),
    ),
    examples=(
      "--config=quickstart --workdir=runs/quickstart",
      "--config=bert_base --workdir=runs/base "
      "--config.data.corpus='text:my/*.txt'",
      "--config=bert_base --workdir=gs://my/base --runner=DataflowRunner "
      "--beam_option=--project=mine --beam_option=--region=europe-west4",
    ),
  ),
  "train": Command(
    train.train,
    "pre-train, or continue from the last checkpoint",
    configured=True,
    needs_workdir=False,
    arguments=(
      ("--dry_run", {"nargs": "?", "const": "", "metavar": "FILE.png",
        "help": "train nothing: show the phases, and draw the learning rate, "
        "into a file if one is given; needs no --workdir"}),
      ("--stop_after_phase", {"metavar": "NAME", "default": "",
        "help": "end with a phase; the same command without this goes on"}),
      ("--force", {"action": "store_true",
        "help": "train although the rows are found to be of no use"}),
      ("--multihost", {"action": "store_true",
        "help": "one of several processes, on a TPU pod or under SLURM"}),
      ("--coordinator", {"metavar": "HOST:PORT",
        "help": "one of several processes, anywhere: the first one's address"}),
      ("--num_processes", {"type": int, "help": "with --coordinator"}),
      ("--process_id", {"type": int, "help": "with --coordinator, from 0"}),
    ),
    examples=(
      "--config=quickstart --workdir=runs/quickstart",
      "--config=quickstart --workdir=runs/mine --config.optim.peak_lr=2e-3",
      "--config=modernbert_base --dry_run",
    ),
  ),
  "show_config": Command(
    show_config,
    "list every configuration key and its value, or explain them",
    configured=True,
    needs_workdir=False,
    arguments=(
      ("--explain", {"nargs": "?", "const": "", "metavar": "GROUP.KEY",
        "help": "also explain the keys: all of them, a group in full, or one "
        "key in full; needs no --config"}),
    ),
    examples=(
      "--config=modernbert_base",
      "--workdir=runs/mine",
      "--explain=model.max_positions",
    ),
  ),
  "doctor": Command(
    inspect.doctor,
    "look at the text, the rows and the loader before a long run",
    configured=True,
    needs_workdir=False,
    arguments=(
      ("--topology", {"default": "", "metavar": "NAME",
        "help": "a TPU slice whose throughput to compare the loader with, "
        "such as v5e:4x4"}),
      ("--json", {"action": "store_true", "help": "one object a line"}),
    ),
    examples=(
      "--config=bert_base --config.data.corpus='text:my/*.txt'",
      "--config=modernbert_base --config.data.corpus='parquet:web/*' "
      "--topology=v5e:4x4",
    ),
  ),
  "show_corruption": Command(
    inspect.show_corruption,
    "show how a recipe corrupts a text",
    configured=True,
    needs_workdir=False,
    arguments=(
      PHASE,
      ("--text", {"action": "append", "required": True,
        "help": "a document; repeatable"}),
      ("--times", {"type": int, "default": 3, "metavar": "N",
        "help": "corruptions of each text"}),
    ),
    examples=(
      "--config=spanbert_base --text 'Spans of words are masked.'",
      "--config=bert_base --config.corruption.mask_rate=0.3 "
      "--text 'Twice as many tokens of this are masked.'",
    ),
  ),
  "compile_check": Command(
    inspect.compile_check,
    "compile the training step for a TPU slice, without hardware",
    configured=True,
    needs_workdir=False,
    arguments=(
      PHASE,
      ("--topology", {"action": "append", "metavar": "v5e:4x4",
        "help": "a TPU slice; repeatable"}),
      ("--per_device_batch", {"type": int, "default": 0, "metavar": "ROWS",
        "help": "rows per device, in one micro-batch; default: as configured"}),
      ("--find_batch", {"action": "store_true",
        "help": "search for the largest batch that fits"}),
      ("--price_per_chip_hour", {"type": float, "default": 0.0,
        "metavar": "PRICE", "help": "estimate the cost of the run"}),
      ("--json", {"action": "store_true", "help": "print one JSON line each"}),
      ("--all", {"action": "store_true",
        "help": "compile all recipes, to bench/results/tpu_compile.md"}),
    ),
    examples=(
      "--config=bert_base --topology=v5e:4x4 --per_device_batch=32",
      "--config=modernbert_base --topology=v5p:2x2x2 --find_batch --json",
    ),
  ),
  "evaluate": Command(
    predict.evaluate,
    "measure the loss on held-out documents, or on another text",
    arguments=(
      CHECKPOINT,
      ("--corpus", {"default": "", "metavar": "text:GLOB",
        "help": "a text to evaluate on instead, as data.corpus names it"}),
      ("--discrepancy", {"action": "store_true",
        "help": "also measure it with other tokens in place of [MASK]"}),
      ("--passes", {"type": int, "default": 1, "metavar": "T",
        "help": "also report the joint loss in up to T passes"}),
    ),
    examples=(
      "--workdir=runs/quickstart",
      "--workdir=runs/quickstart --checkpoint=best --passes=8",
      "--workdir=runs/quickstart --corpus='text:other/*.txt'",
    ),
  ),
  "fill_mask": Command(
    predict.fill_mask,
    "predict the [MASK]s of a text",
    arguments=(
      CHECKPOINT,
      ("--text", {"action": "append",
        "help": 'for example "Paris is the [MASK] of France."; repeatable'}),
      ("--top_k", {"type": int, "default": 5, "help": "predictions per mask"}),
      ("--passes", {"type": int, "default": 1, "metavar": "T",
        "help": "fill several masks in T passes, most confident first"}),
      ("--interactive", {"action": "store_true",
        "help": "read texts from the terminal; the default without --text"}),
    ),
    examples=(
      "--workdir=runs/quickstart --text 'This module provides a [MASK].'",
      "--workdir=runs/quickstart --interactive",
    ),
  ),
  "mask_predict": Command(
    predict.mask_predict,
    "fill the gaps of a text with an encoder-decoder (Mask-Predict)",
    arguments=(
      CHECKPOINT,
      ("--text", {"action": "append", "required": True,
        "help": "[MASK] may stand for any number of words; repeatable"}),
      ("--passes", {"type": int, "default": 10, "metavar": "T",
        "help": "each predicts the least confident tokens again"}),
      ("--lengths", {"type": int, "default": 5, "metavar": "N",
        "help": "number of lengths to try; the most probable text is kept"}),
    ),
    examples=(
      "--workdir=runs/cmlm --text 'The file does not [MASK]' --passes=4",
    ),
  ),
  "embed": Command(
    predict.embed,
    "embed each line of a file as a vector",
    arguments=(
      CHECKPOINT,
      ("--texts", {"required": True, "metavar": "FILE",
        "help": "one text per line"}),
      ("--out", {"required": True, "metavar": "OUT.npy",
        "help": "float32 [texts, width]"}),
      ("--pool", {"choices": ("mean", "start"), "default": "mean",
        "help": "the mean over a text's tokens, or the start token's vector"}),
      ("--batch_size", {"type": int, "default": 64, "help": "texts per batch"}),
    ),
    examples=(
      "--workdir=runs/quickstart --texts=lines.txt --out=vectors.npy",
    ),
  ),
  "average_checkpoints": Command(
    interop.average_checkpoints,
    "average checkpoints, of one run or several, into a new work directory",
    arguments=(
      ("--from", {"action": "append", "required": True, "dest": "sources",
        "metavar": "DIR[:CHECKPOINT]",
        "help": "last, best, best3 for the three best, or a step, each also "
        "with :ema; repeatable"}),
      ("--method", {"choices": ("uniform", "ties"), "default": "uniform",
        "help": "the mean, or a merge that trims small differences to --base"}),
      ("--base", {"metavar": "DIR[:CHECKPOINT]", "default": "",
        "help": "for ties, what the others were trained from"}),
      ("--density", {"type": float, "default": 0.2, "metavar": "SHARE",
        "help": "for ties, how many of each array's differences are kept"}),
    ),
    examples=(
      "--from=runs/base:best3 --from=runs/base --workdir=runs/average",
      "--from=runs/a --from=runs/b --from=runs/c --method=ties "
      "--base=runs/long:50000 --workdir=runs/merged",
    ),
  ),
  "export_hf": Command(
    interop.export_hf,
    "export the model to Hugging Face's transformers",
    arguments=(
      CHECKPOINT,
      ("--out", {"required": True, "metavar": "FOLDER", "help": "to create"}),
      ("--family", {"default": "", "metavar": "NAME",
        "help": "such as roberta, if several families express the model"}),
      ("--part", {"default": "", "metavar": "NAME",
        "help": "a submodel, such as generator; by default the first"}),
      ("--max_tokens", {"type": int, "default": 0, "metavar": "N",
        "help": "where the tokenizer cuts texts; by default as trained"}),
      ("--sentence_transformers", {"default": "", "metavar": "POOL",
        "help": "also write modules.json: pool by mean, or start"}),
      ("--push_to_hub", {"default": "", "metavar": "NAME",
        "help": "upload the folder to this repository of the hub"}),
      NO_PARITY,
    ),
    examples=(
      "--workdir=runs/quickstart --out=runs/quickstart_hf",
      "--workdir=runs/electra --out=runs/generator_hf --part=generator",
    ),
  ),
  "export_onnx": Command(
    interop.export_onnx,
    "export the model to ONNX, and compare it in onnxruntime",
    arguments=(
      CHECKPOINT,
      ("--out", {"required": True, "metavar": "OUT.onnx",
        "help": "to create"}),
      ("--pool", {"default": "", "metavar": "NAME",
        "help": "mean or start: vectors of texts in place of logits"}),
      ("--max_tokens", {"type": int, "default": 0, "metavar": "N",
        "help": "of the longest text; by default as trained"}),
    ),
    examples=(
      "--workdir=runs/quickstart --out=quickstart.onnx --pool=mean",
    ),
  ),
  "import_hf": Command(
    interop.import_hf,
    "import a Hugging Face model into a work directory",
    arguments=(
      ("--from", {"required": True, "dest": "source", "metavar": "MODEL",
        "help": "a folder, or a repository name on the hub"}),
      ("--revision", {"default": "", "metavar": "NAME",
        "help": "a branch, tag or commit of the repository, or refs/pr/N"}),
      ("--add_tokens", {"default": "", "metavar": "FILE",
        "help": "add the words of this file, one per line, as tokens"}),
      ("--add_mask_token", {"action": "store_true",
        "help": "add a mask token to a tokenizer without one"}),
      ("--new_head", {"action": "store_true",
        "help": "start from a random head if the model has none"}),
      ("--sentence_pairs", {"action": "store_true",
        "help": "import the head of pairs, too: BERT's NSP, ALBERT's SOP"}),
      ("--generator", {"default": "", "metavar": "MODEL",
        "help": "an ELECTRA generator; --from is its discriminator"}),
      ("--max_positions", {"type": int, "default": 0, "metavar": "N",
        "help": "extend the maximum length"}),
      ("--rope_theta", {"type": float, "default": 0.0, "metavar": "BASE",
        "help": "a new RoPE base for the global layers"}),
      ("--grow_to", {"default": "", "metavar": "RECIPE",
        "help": "grow to the size of this recipe's model, by tiling"}),
      NO_PARITY,
    ),
    examples=(
      "--from=answerdotai/ModernBERT-base --workdir=runs/on",
      "--from=runs/quickstart_hf --workdir=runs/more --add_tokens=words.txt",
      "--from=answerdotai/ModernBERT-base --workdir=runs/large "
      "--grow_to=modernbert_large",
    ),
  ),
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
  """Raises InputError for invalid arguments; returns overrides of keys."""

  def error(self, message):
    raise InputError(f"{message}; see python -m {self.prog} --help")

  def parse_known_args(self, args=None, namespace=None):
    known = [flag for flag in self._option_string_actions if flag[:2] == "--"]
    if "--config" in known:
      known.append("--config.GROUP.KEY")
    # argparse would return misspelt options as overrides.
    for argument in args:
      flag = argument.partition("=")[0]
      key = flag.startswith("--config.") and "--config" in known
      if flag.startswith("--") and flag not in known and not key:
        raise unknown("option", flag, known)
    return super().parse_known_args(args, namespace)


def parser(name: str) -> argparse.ArgumentParser:
  """Returns the parser of a command, which raises InputError."""
  command = COMMANDS[name]
  lines = [f"  mlm_jax {name} {example}" for example in command.examples]
  made = _Parser(
    prog=f"mlm_jax {name}",
    description=command.about,
    epilog="\n".join(["examples:", *lines]),
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  add_arguments(made, command)
  return made


def add_arguments(
  parser: argparse.ArgumentParser, command: Command
) -> dict[str, argparse.Action]:
  """Gives a parser what a command takes; returns argparse's, by the flags."""
  added = {}
  if command.configured:
    added["--config"] = parser.add_argument(
      "--config",
      metavar="RECIPE",
      help="a recipe: a name, such as bert_base, or a Python file of your own; "
      "by default what the work directory was made with; override any key of "
      "it with --config.GROUP.KEY=VALUE (show_config --explain lists and "
      "explains them all)",
    )
  added["--workdir"] = parser.add_argument(
    "--workdir", required=command.needs_workdir, help="the work directory"
  )
  for flag, options in command.arguments:
    added[flag] = parser.add_argument(flag, **options)
  return added
