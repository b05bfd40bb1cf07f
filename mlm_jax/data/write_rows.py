"""Documents to row store: tokenize, split off the held-out ones, pack, write.

The main process reads the corpus and cuts it into blocks; as many processes as
there are cores write them. Memory holds a block for each of them and two more,
whatever the corpus. What a kill leaves is kept: blocks that were finished are
not written again.
"""

import collections
import itertools
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import loky
from etils import epath

from mlm_jax.config import DataConfig
from mlm_jax.data import beam, blocks, dedup, row_writer, rows, sources
from mlm_jax.data.blocks import Block
from mlm_jax.data.sources.documents import Report
from mlm_jax.data.tokenizers import Tokenizer
from mlm_jax.errors import InputError, require
from mlm_jax.progress import Progress
from mlm_jax.workdir import alone

# Makes another order of the hashes than that by which documents are held out.
_SPREAD = 0x9E3779B97F4A7C15


def write_store(
  data: DataConfig,
  tokenizer: Tokenizer,
  path: epath.Path,
  fields: dict[str, Any],
  say: Callable[[str], None] = print,
  beam_options: Sequence[str] = (),
) -> None:
  """Writes the row store of a corpus, or what is missing of it.

  Where another process of this machine is at it, its end is waited for.

  Args:
    data: names the corpus and says how it is split and packed.
    tokenizer: what tokenizes it.
    path: the folder of the store.
    fields: what the store's fingerprint was computed from, kept in it.
    say: called with a line of text about what is being done.
    beam_options: of Apache Beam, which writes them if there are any.

  Raises:
    InputError: the corpus cannot be read.
  """
  with alone(path, f"Another process prepares {path}: waiting for it", say):
    if rows.is_finished(path):
      return
    if beam_options:
      numbers = beam.write_blocks(data, tokenizer, path, beam_options)
      finish(data, tokenizer, path, numbers, fields)
      return
    numbers = []
    with Progress(100, unit="percent of the text") as progress:
      found = _read(data, numbers, progress)
      missing = (b for b in found if not blocks.is_written(b, path))
      _write_blocks(missing, data, tokenizer, path)
    finish(data, tokenizer, path, numbers, fields)


def finish(
  data: DataConfig,
  tokenizer: Tokenizer,
  path: epath.Path,
  numbers: Iterable[int],
  fields: dict[str, Any],
) -> None:
  """Makes a store of blocks that are all written.

  Args:
    data: the configuration of the rows.
    tokenizer: what tokenized them.
    path: the folder of the store.
    numbers: those of the blocks, in order.
    fields: what the store's fingerprint was computed from.

  Raises:
    InputError: there is no text in any of them.
  """
  numbers = list(numbers)
  report, num_left_out, num_duplicates, num_documents = Report(), 0, 0, 0
  for number in numbers:
    try:
      block = blocks.load(path, number)
    except FileNotFoundError:
      # Where nothing can be locked, another one may have come first.
      require(rows.is_finished(path), f"blocks of {path} are missing")
      return
    report.nulls += block.report.nulls
    report.bad += block.report.bad
    report.first_bad = report.first_bad or block.report.first_bad
    num_left_out += block.num_left_out
    num_duplicates += block.num_duplicates
    num_documents += sum(c.num_documents for c in block.counts.values())
  require(
    num_documents + num_left_out, f"data.corpus={data.corpus!r} holds no text"
  )
  row_writer.finish_store(
    path,
    data.seq_len,
    tokenizer.vocabulary,
    # Read again, one at a time: all of them are more than memory may hold.
    ((number, blocks.load(path, number).counts) for number in numbers),
    report,
    num_left_out=num_left_out,
    num_duplicates=num_duplicates,
    fingerprint_fields=fields,
  )
  (path / blocks.FOLDER).rmtree(missing_ok=True)


def _read(
  data: DataConfig, numbers: list[int], progress: Progress
) -> Iterator[Block]:
  """Yields the blocks of a corpus, and adds their numbers to a list."""
  splitter, groups = blocks.Splitter(data), sources.groups(data)
  total, before, shown = sum(group.size for group in groups), 0, 0
  duplicates = dedup.find(data, groups)
  for number, (group, copies) in enumerate(
    zip(groups, duplicates, strict=True)
  ):
    for block in blocks.read(data, splitter, number, group, copies):
      numbers.append(block.number)
      yield block
      done = before + block.report.bytes_read
      percent = min(100, 100 * done // total) if total else 0
      progress.advance(percent)
      if percent // 10 > shown // 10:
        progress.show(percent)  # A line in a log.
        shown = percent
    before += group.size


def _write_blocks(
  found: Iterator[Block],
  data: DataConfig,
  tokenizer: Tokenizer,
  path: epath.Path,
) -> None:
  """Writes blocks, several at a time if there are several."""
  first = list(itertools.islice(found, 2))
  found = itertools.chain(first, found)
  num_processes = loky.cpu_count()
  if len(first) < 2 or num_processes == 1:
    for block in found:
      blocks.write(block, data, tokenizer, path)
    return
  # Not multiprocessing: it would run the main script again in each process.
  with loky.ProcessPoolExecutor(
    num_processes, initializer=_begin, initargs=(data, tokenizer, path)
  ) as pool:
    running = collections.deque()
    try:
      for block in found:
        if len(running) > num_processes:
          running.popleft().result()
        running.append(pool.submit(_write, block))
      for future in running:
        future.result()
    except loky.process_executor.TerminatedWorkerError as error:
      raise InputError(
        "a process that writes rows was killed, perhaps for its memory: "
        "fewer cores take less (taskset); what is finished is kept"
      ) from error
    except BaseException:
      pool.shutdown(wait=False, kill_workers=True)
      raise


_WORK = {}  # Of a process that writes blocks: what all of them have in common.


def _begin(data: DataConfig, tokenizer: Tokenizer, path: epath.Path) -> None:
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Is for the main process.
  # Each core has its process: tokenizers must not start threads for all.
  os.environ["TOKENIZERS_PARALLELISM"] = "false"
  tokenizer.num_threads = 1
  _WORK.update(data=data, tokenizer=tokenizer, path=path)


def _write(block: Block) -> None:
  blocks.write(block, **_WORK)


def sampled(documents: Iterable[str], budget: int) -> tuple[list[str], int]:
  """Returns documents drawn from all, and the characters of all.

  A hash of the text decides, so that the sample depends on no order. Where the
  documents have more than `budget` characters, at least half of that is drawn.
  """
  kept, size, total, bound = [], 0, 0, 2**64
  for document in documents:
    total += len(document)
    digest = blocks.digest(document) * _SPREAD % 2**64
    if digest >= bound:
      continue
    kept.append((digest, document))
    size += len(document)
    while size > budget and len(kept) > 1:
      bound //= 2
      kept = [one for one in kept if one[0] < bound]
      size = sum(len(text) for _, text in kept)
  return [text for _, text in kept], total
