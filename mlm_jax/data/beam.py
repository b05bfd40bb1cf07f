"""Rows by Apache Beam: groups of files are read, and blocks written, anywhere.

It is an extra, `pip install 'mlm_jax[beam]'`. A runner of several machines
needs a folder of rows that all of them reach, such as gs://.
"""

import json
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import blocks, dedup, sources
from mlm_jax.data.blocks import Block, Splitter
from mlm_jax.data.sources import Group
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, first_line, input_error_in, require
from mlm_jax.workdir import write_atomically


def write_blocks(
  data: DataConfig,
  tokenizer: Tokenizer,
  path: epath.Path,
  options: Sequence[str],
) -> list[int]:
  """Writes the blocks of a corpus that are missing; returns all their numbers.

  Args:
    data: names the corpus and says how it is split and packed.
    tokenizer: what tokenizes it.
    path: the folder of the store.
    options: Beam's own, such as --runner=DirectRunner.

  Raises:
    InputError: Beam is not installed, the corpus cannot be read, or the
      machines of the runner write to other folders than this one.
  """
  apache_beam, pipeline = _pipeline(options)
  groups = sources.groups(data)
  groups = [
    (number, group, copies)
    for number, (group, copies) in enumerate(
      zip(groups, dedup.find(data, groups), strict=True)
    )
  ]
  splitter = Splitter(data)

  def read(
    number: int, group: Group, copies: frozenset[int]
  ) -> Iterator[Block]:
    return blocks.read(data, splitter, number, group, copies)

  def write(block: Block) -> int:
    if not blocks.is_written(block, path):
      blocks.write(block, data, tokenizer, path)
    return block.number

  def list_all(numbers: list[int]) -> None:
    write_atomically(listed, json.dumps(sorted(numbers)))

  listed = path / blocks.FOLDER / "all.json"
  listed.unlink(missing_ok=True)

  try:
    with pipeline:
      _ = (
        pipeline
        | "Groups" >> apache_beam.Create(groups)
        | "Spread" >> apache_beam.Reshuffle()
        | "Read" >> apache_beam.FlatMapTuple(read)
        | "Share" >> apache_beam.Reshuffle()
        | "Write" >> apache_beam.Map(write)
        | "Gather" >> apache_beam.combiners.ToList()
        | "List" >> apache_beam.Map(list_all)
      )
  except Exception as error:  # Runners wrap what is raised within them.
    raise input_error_in(str(error)) or error from None
  require(
    listed.exists(),
    f"the machines of --runner do not write to {path}: data.rows_dir must be a "
    "folder that all of them reach, such as on gs://",
  )
  return json.loads(listed.read_text())


def _pipeline(options: Sequence[str]) -> tuple[ModuleType, Any]:
  """Returns the module apache_beam, and a pipeline with these options."""
  try:
    import apache_beam
    from apache_beam.options import pipeline_options
  except ImportError as error:
    raise InputError(
      "--runner needs Apache Beam: pip install 'mlm_jax[beam]'"
    ) from error
  try:
    pipeline = apache_beam.Pipeline(
      options=pipeline_options.PipelineOptions(list(options))
    )
  except Exception as error:  # Runners check their options in many ways.
    reason = first_line(error)
    raise InputError(f"--runner: {reason}") from error
  return apache_beam, pipeline
