"""Reads collectives, loops and array shapes from the text of an HLO program."""

import collections
import math
import re
from collections.abc import Iterator

# Bytes that one device sends in a ring algorithm, given the bytes of the result
# and the number of devices in the group.
_BYTES_SENT = {
  "all-reduce": lambda size, n: 2 * size * (n - 1) / n,
  "all-gather": lambda size, n: size * (n - 1) / n,
  "reduce-scatter": lambda size, n: size * (n - 1),
  "all-to-all": lambda size, n: size * (n - 1) / n,
  "collective-permute": lambda size, n: size,
}

_COLLECTIVE = re.compile(rf" = (.*?) ({'|'.join(_BYTES_SENT)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")
_BITS = {"pred": 8, "bf16": 16}


def collectives(text: str) -> list[dict]:
  """Returns "kind", "count" and "bytes" of each kind of collective.

  Those in a loop count once per trip; "bytes" are sent by one device.
  """
  found = collections.defaultdict(lambda: [0, 0.0])
  for line, times in _lines(text):
    match = _COLLECTIVE.search(line)
    if not match:
      continue
    result, kind, is_start = match.groups()
    arrays = list(_ARRAY.finditer(result))
    if is_start and kind != "all-reduce":
      arrays = arrays[len(arrays) // 2 :]  # Operands come first.
    size = sum(_bytes(array) for array in arrays)
    found[kind][0] += times
    found[kind][1] += times * _BYTES_SENT[kind](size, _group_size(line))
  return [
    {"kind": kind, "count": count, "bytes": round(sent)}
    for kind, (count, sent) in sorted(found.items())
  ]


def all_gather_shapes(text: str) -> list[tuple[int, ...]]:
  """Returns the result shapes of a program's all-gathers, in program order."""
  shapes = []
  for line, _ in _lines(text):
    match = _COLLECTIVE.search(line)
    if match and match[2] == "all-gather":
      *_, array = _ARRAY.finditer(match[1])
      shapes.append(_shape(array))
  return shapes


def has_pairwise_array(text: str, length: int) -> bool:
  """Returns whether an array has two or more axes of this length."""
  return any(_shape(array).count(length) > 1 for array in _ARRAY.finditer(text))


def has_loops(text: str) -> bool:
  return " while(" in text


def num_without_estimate(text: str) -> int:
  """Returns how many ops of a TPU program have an estimated time of -1 s."""
  return text.count('custom_call_target="ConcatBitcast"')


def _shape(array):
  return tuple(int(n) for n in array[2].split(",") if n)


def _bytes(array):
  bits = _BITS.get(array[1]) or int(array[1][1:])
  return math.prod(_shape(array)) * bits // 8


def _group_size(line):
  """Returns the number of devices in a collective's group, in any notation."""
  if match := re.search(r"replica_groups=mesh\[(.*?)\] \{(.*?)\}", line):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"\w+", match[2]))
  if match := re.search(r"replica_groups=\[\d+,(\d+)\]", line):
    return int(match[1])
  if match := re.search(r"replica_groups=\{\{([\d,]+)\}", line):
    return match[1].count(",") + 1
  return 2  # A permutation sends from one device to another.


def _lines(text: str) -> Iterator[tuple[str, int]]:
  """Yields each line of a program with the number of times that it runs."""
  bodies, entry, name = collections.defaultdict(list), None, None
  for line in text.splitlines():
    if line.startswith(("ENTRY ", "%")) and line.endswith("{"):
      is_entry, name = line.startswith("ENTRY"), line.split("%", 1)[1]
      name = re.split(r"[ (]", name, maxsplit=1)[0]
      entry = name if is_entry else entry
    elif name:
      bodies[name].append(line)

  def walk(name, times):
    for line in bodies[name]:
      yield line, times
      trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
      inner = times * int(trips[1]) if trips else times
      for called in re.findall(r"(?:body|calls|to_apply)=%([\w.\-]+)", line):
        yield from walk(called, inner)

  yield from walk(entry, 1)
