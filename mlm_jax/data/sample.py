"""A sample of a source, from files that are spread over it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mlm_jax.config import DataConfig
from mlm_jax.data import sources
from mlm_jax.data.sources.documents import Report
from mlm_jax.errors import require

# Characters that are read of all sources, and the least of one. Of a file no
# more is read than such a share of it, so that there are several.
_SAMPLE_CHARS, _LEAST_CHARS, _LEAST_FILES = 1 << 24, 1 << 18, 16


class Sample(NamedTuple):
  """Documents of a source.

  Attributes:
    documents: their texts.
    characters: those of the whole source, None if that is unknown.
    report: on the part that was read.
  """

  documents: list[str]
  characters: float | None
  report: Report

  @property
  def size(self) -> int:
    """The characters of the sample."""
    return sum(map(len, self.documents))

  @property
  def is_whole(self) -> bool:
    """True if it is all of the source."""
    return self.characters is not None and self.size > 0.999 * self.characters


def read(data: DataConfig, num_sources: int) -> Sample:
  """Reads a sample of a source.

  Args:
    data: names the source.
    num_sources: how many there are, which share what is read.

  Raises:
    InputError: it cannot be read, or holds no text.
  """
  budget = max(_SAMPLE_CHARS // num_sources, _LEAST_CHARS)
  groups, report, documents = sources.groups(data), Report(), []
  if groups[0].paths is None:
    size = 0
    for text in sources.read_documents(data, report):
      documents.append(text)
      size += len(text)
      if size >= budget:
        return Sample(documents, None, report)
    return Sample(documents, float(size), report)
  paths = [path for group in groups for path in group.paths]
  total, size = sum(group.size for group in groups), 0
  for path in _spread(paths):
    most = size + max(1, budget // _LEAST_FILES)
    for text in sources.read_documents(data, report, [path]):
      documents.append(text)
      size += len(text)
      if size >= most:
        break
    if size >= budget:
      break
  require(documents, f"data.corpus={data.corpus!r} holds no text")
  return Sample(documents, size * total / max(1, report.bytes_read), report)


def _spread(paths: Sequence[str]) -> Iterator[str]:
  """Yields all of them, the first few from everywhere between the ends."""
  step = 1 << max(0, len(paths) - 1).bit_length()
  seen = set()
  while step:
    for index in range(0, len(paths), step):
      if index not in seen:
        seen.add(index)
        yield paths[index]
    step //= 2
