"""Compiles the training step for a TPU that is not there, and reads the result.

`python -m mlm_jax.tools.compile_check` is the process that the command starts: it
reads a JSON object, what is asked, and writes what it tries, a line each, and an
object in the last one, what `check` returns.
"""

import dataclasses
import json
import logging
import math
import pathlib
import re
import sys
import tempfile
import time

import jax
import numpy as np

from mlm_jax import config as config_lib
from mlm_jax.config import Config
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.errors import InputError
from mlm_jax.tools import flop_count, hlo, tpus
from mlm_jax.training import flops, partitioning
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

_LOGGER = logging.getLogger("mlm_jax.tools")

_GIB = 2**30
# The side of a matrix unit, which narrower heads do not fill.
_UNIT = 128


def check(config: Config, topology: str) -> dict:
  """Returns what the compiler says of a run's training step on a TPU slice.

  Everything is of one device.

  Returns:
    fits: whether it compiles; if not, `why`, and no more than the next four.
    topology, devices, chips, batch_size, microbatches: what was compiled;
    per_device_batch: the rows of a device.
    compile_seconds; hbm_available and hbm_used, GiB; of the latter parameters,
    optimizer, activations (and gradients) and program.
    model_flops: what a step must compute, as `training.flops` counts it;
    compiled_flops: what it does, attention kernels and loops counted as traced;
    kernel_flops: those of the kernels.
    bytes_per_token: of HBM traffic.
    collectives: kind, count and bytes sent, of each kind.
    pair_arrays: does any array have an axis of queries and one of keys?
    step_seconds: the compiler's estimate, with the attention kernels at the
    highest rate that their heads allow; utilisation: of the peak, by it;
    utilisation_outside: without the attention, its time and its FLOPs.
    tokens_per_second: of all devices, by it.

    A compiler counts a loop once: where there is one, numbers of traffic and time
    are None.
  """
  devices = tpus.devices(topology)
  vocab = _vocabulary(config)
  run = Run.on(config, vocab, devices)
  about = {
    "topology": topology,
    "devices": len(devices),
    "chips": tpus.num_chips(topology),
    "batch_size": config.train.batch_size,
    "per_device_batch": config.train.batch_size
    // math.prod(run.mesh.devices.shape[:2]),
    "microbatches": config.train.microbatches,
    "seq_len": config.data.seq_len,
    "hbm_available": tpus.generation(topology).hbm,
  }
  batch = corruption_lib.batch_contract(config).spec()
  start = time.perf_counter()
  try:
    with tempfile.TemporaryDirectory() as folder:
      # What JAX makes of a v6e's program, it cannot always print.
      dump = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
      traced, compiled = run.compile_train_step(batch, dump)
      (path,) = pathlib.Path(folder).glob("*.after_codegen.txt")
      text = path.read_text()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return {**about, "fits": False, "why": _too_much(str(error))}
  about["compile_seconds"] = round(time.perf_counter() - start, 1)
  return {
    **about,
    "fits": True,
    **_memory(run, compiled.memory_analysis()),
    **_work(run, traced, compiled.cost_analysis(), text),
    "collectives": hlo.collectives(text),
    "pair_arrays": hlo.has_pairs(text, config.data.seq_len),
  }


def with_batch(config: Config, topology: str, per_device: int) -> Config:
  """Returns a configuration of so many rows a device, in one piece."""
  count = len(tpus.devices(topology))
  data, fsdp, _ = partitioning.mesh_sizes(config.mesh, count)
  train = dataclasses.replace(
    config.train, batch_size=per_device * data * fsdp, microbatches=1
  )
  return dataclasses.replace(config, train=train)


def find_batch(config: Config, topology: str) -> dict:
  """Returns `check` of the most rows a device that fit, a multiple of 8.

  A sixteenth more, or 8 rows more, did not. Memory is nearly linear in the rows,
  so few programs are compiled; but not of neighbours, as the compiler gives up
  time for memory where that gets scarce.
  """

  def fit(rows):
    changed = with_batch(config, topology, rows)
    return _try(f"{rows:,} rows a device", changed, topology)

  low, high, guess = 8, None, 16
  first = best = fit(low)
  margin = lambda: max(8, _multiple(low / 16))
  while best["fits"] and (high is None or high - low > margin()):
    report = fit(guess)
    if report["fits"]:
      low, best = guess, report
    else:
      high = guess
    if low > 8:
      room = best["hbm_available"] - best["hbm_used"]
      # Rows of a few kilobytes each may not show.
      grown = max(best["hbm_used"] - first["hbm_used"], 0.01)
      more = (low - 8) * room / grown
      guess = max(_multiple(low + more), low + margin())
    if high and guess >= high:
      guess = max(_multiple((low + high) / 2), low + 8)
  return best


def _multiple(rows):
  return int(rows) // 8 * 8


def remedies(config: Config, topology: str) -> list[tuple[str, dict]]:
  """Returns what makes a step fit that does not, each tried by itself."""
  data, fsdp, tensor = partitioning.mesh_sizes(
    config.mesh, len(tpus.devices(topology))
  )
  found = []

  def fits(group, **values):
    (name, value), *_ = values.items()
    name = f"{group}.{name}={value!r}"
    changed = dataclasses.replace(getattr(config, group), **values)
    changed = dataclasses.replace(config, **{group: changed})
    report = _try(name, changed, topology)
    if report["fits"]:
      found.append((name, report))
    return report["fits"]

  fits("model", remat="dots")
  fits("model", remat="full")
  rows, done = config.train.batch_size, config.train.microbatches
  for parts in (2 * done, 4 * done, 8 * done, 16 * done):
    # The fewest that do.
    if rows % (parts * data * fsdp) or fits("train", microbatches=parts):
      break
  if data > 1:
    fits("mesh", fsdp=data * fsdp, data=1, tensor=tensor)
  return found


def _try(name, config, topology):
  report = check(config, topology)
  size = report.get("why")
  if report["fits"]:
    size = f"{report['hbm_used']:.2f} of {report['hbm_available']} GiB"
  _LOGGER.info("tried %s: %s", name, size)
  return report


def _vocabulary(config):
  """Returns one of the right size; what its ids are changes no shape."""
  size = config.data.vocab_size
  sentinels = tuple(range(5, 5 + config.data.num_sentinels))
  return Vocabulary(
    *(size, 0, 1, 2, 3, 4),
    other_special_ids=sentinels,
    sentinel_ids=sentinels,
    starts_word=np.ones(size, bool),
    stops=np.zeros(size, np.int8),
  )


def _too_much(message):
  sizes = re.search(r"\(([\d.]+)([KMGT])\) exceeds", message)
  used = re.search(r"Used ([\d.]+)([KMGT]) of", message)
  asked = used or sizes
  return f"{asked[1]} {asked[2]}iB asked for" if asked else message[:200]


def _memory(run, stats):
  """Returns where the memory of a device goes, GiB."""
  of = lambda tree: sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )
  state = run.abstract_state
  arrays = stats.argument_size_in_bytes + stats.output_size_in_bytes
  arrays -= stats.alias_size_in_bytes
  used = arrays + stats.temp_size_in_bytes + stats.generated_code_size_in_bytes
  sizes = {
    "hbm_used": used,
    "parameters": of(state.params),
    "optimizer": of(state.opt_state),
    "activations": stats.temp_size_in_bytes,
    "program": stats.generated_code_size_in_bytes,
  }
  return {name: round(size / _GIB, 3) for name, size in sizes.items()}


def _work(run, traced, costs, text):
  """Returns what a step computes, moves and takes, of a device."""
  config, devices = run.config, run.mesh.size
  tokens = config.train.batch_size * config.data.seq_len / devices
  model = flops.train_flops_per_token(config) * tokens
  counted = flop_count.count(traced.jaxpr)
  kernels, loops = counted.kernels / devices, counted.loops / devices
  compiled = costs["flops"] + kernels + loops
  found = {
    "model_flops": model,
    "compiled_flops": compiled,
    "kernel_flops": kernels,
    "bytes_per_token": None,
    "step_seconds": None,
  }
  if hlo.has_loops(text):
    return found
  peak = flops.peak_of(run.mesh.devices.flat[0].device_kind)
  # What has no estimate has counted for a second less than nothing.
  outside = costs["optimal_seconds"]
  outside += max(hlo.without_estimate(text), math.ceil(-outside))
  fill = min(1, config.model.head_width / _UNIT)
  seconds = outside + kernels / (peak * fill)
  per_second = tokens * devices / seconds
  return found | {
    "bytes_per_token": round(costs["bytes accessed"] / tokens),
    "step_seconds": seconds,
    "utilisation": model / (peak * seconds),
    "utilisation_outside": (compiled - kernels) / (peak * outside),
    "tokens_per_second": round(per_second),
  }


def _main():
  # What is tried is told line by line, and the report last.
  _LOGGER.addHandler(logging.StreamHandler(sys.stdout))
  _LOGGER.setLevel(logging.INFO)
  asked = json.load(sys.stdin)
  config = config_lib.build(asked["config"])
  topology, rows = asked["topology"], asked["per_device_batch"]
  try:
    if asked["find_batch"]:
      report = find_batch(config, topology)
    else:
      config = with_batch(config, topology, rows) if rows else config
      report = check(config, topology)
    if not report["fits"] and asked["remedies"]:
      report["remedies"] = remedies(config, topology)
  except InputError as error:
    report = {"error": str(error)}
  print(json.dumps(report))


if __name__ == "__main__":
  _main()
