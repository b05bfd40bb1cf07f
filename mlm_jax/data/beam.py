"""Rows by Apache Beam: groups of files are read, and blocks written, anywhere.

It is an extra, `pip install 'mlm_jax[beam]'`. A runner of several machines
needs a folder of rows that all of them reach, such as gs://.
"""

from collections.abc import Iterator, Sequence

from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import blocks, dedup, sources
from mlm_jax.data.blocks import Block, Splitter
from mlm_jax.data.sources import Group
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, input_error_in


def write_blocks(
  data: DataConfig,
  tokenizer: Tokenizer,
  path: epath.Path,
  options: Sequence[str],
) -> None:
  """Writes the blocks of a corpus that are missing.

  Args:
    data: names the corpus and says how it is split and packed.
    tokenizer: what tokenizes it.
    path: the folder of the store.
    options: Beam's own, such as --runner=DirectRunner.

  Raises:
    InputError: Beam is not installed, or the corpus cannot be read.
  """
  try:
    import apache_beam
    from apache_beam.options import pipeline_options
  except ImportError as error:
    raise InputError(
      "--runner needs Apache Beam: pip install 'mlm_jax[beam]'"
    ) from error
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

  def write(block: Block) -> None:
    if not blocks.is_written(block, path):
      blocks.write(block, data, tokenizer, path)

  try:
    pipeline = apache_beam.Pipeline(
      options=pipeline_options.PipelineOptions(list(options))
    )
  except ValueError as error:
    raise InputError(f"--runner: {error}") from error
  try:
    with pipeline:
      _ = (
        pipeline
        | "Groups" >> apache_beam.Create(groups)
        | "Spread" >> apache_beam.Reshuffle()
        | "Read" >> apache_beam.FlatMapTuple(read)
        | "Share" >> apache_beam.Reshuffle()
        | "Write" >> apache_beam.Map(write)
      )
  except Exception as error:  # Runners wrap what is raised within them.
    raise input_error_in(str(error)) or error from None
