"""Compiles the training step for a TPU without hardware, and analyses it.

`python -m mlm_jax.tools.compile_check` is the process that
`compile_subprocess.check` starts: it reads a request, a JSON object, from
standard input; it writes a line for each configuration that it tries, and last
the report, a JSON object.
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
from mlm_jax import recipes
from mlm_jax.config import Config
from mlm_jax.data import corruption as corruption_lib
from mlm_jax.errors import InputError
from mlm_jax.tools import flop_count, hlo, tpus
from mlm_jax.training import hardware, partitioning
from mlm_jax.training.run import Run
from mlm_jax.vocabulary import Vocabulary

_LOGGER = logging.getLogger("mlm_jax.tools")

_GIB = 2**30
# The side of a matrix unit; narrower attention heads leave a part of it idle.
_UNIT = 128


def check(config: Config, topology: str) -> dict:
  """Returns a report of a run's training step, compiled for a TPU slice.

  All numbers are per device, but for tokens_per_second.

  Returns:
    topology, devices, chips, batch_size, per_device_batch, microbatches,
      seq_len: what was compiled.
    hbm_available: GiB.
    fits: whether it compiles. If not, "why", and nothing of the following.
    compile_seconds.
    hbm_used: GiB; of it parameters, optimizer, activations (with gradients)
      and program.
    model_flops: what a step must compute, by `Objective.flops_per_token`.
    compiled_flops: what it computes; attention kernels and loops are counted
      in the traced program.
    kernel_flops: those of attention kernels.
    bytes_per_token: HBM traffic.
    collectives: kind, count and bytes sent, for each kind.
    pair_arrays: whether any array has a query axis and a key axis.
    step_seconds: the compiler's estimate, to which attention kernels are added
      at the highest rate that their head width allows.
    utilisation, tokens_per_second: by that estimate.
    utilisation_outside: the same without attention, its time and its FLOPs.

    A compiler counts the body of a loop once, so traffic and time are None if
    the program has a loop.
  """
  devices = tpus.devices(topology)
  vocab = _vocabulary(config)
  run = Run.on(config, vocab, devices)
  report = {
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
    traced, compiled, text = _compile(run, batch)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return {**report, "fits": False, "why": _reason(str(error))}
  return {
    **report,
    "compile_seconds": round(time.perf_counter() - start, 1),
    "fits": True,
    **_memory(run, compiled.memory_analysis()),
    **_work(run, traced, compiled.cost_analysis(), text),
    "collectives": hlo.collectives(text),
    "pair_arrays": hlo.has_pairwise_array(text, config.data.seq_len),
  }


def _compile(run, batch):
  """Returns the traced step, the compiled one, and its program as text."""
  with tempfile.TemporaryDirectory() as folder:
    # JAX cannot always print a program compiled for a v6e; XLA's dump can.
    dump = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True}
    traced, compiled = run.compile_train_step(batch, dump)
    (path,) = pathlib.Path(folder).glob("*.after_codegen.txt")
    return traced, compiled, path.read_text()


def with_batch(config: Config, topology: str, per_device: int) -> Config:
  """Returns a config with that many rows per device and one micro-batch."""
  count = len(tpus.devices(topology))
  data, fsdp, _ = partitioning.mesh_sizes(config.mesh, count)
  train = dataclasses.replace(
    config.train,
    batch_size=per_device * data * fsdp,
    initial_batch_size=0,
    microbatches=1,
  )
  return dataclasses.replace(config, train=train)


def find_batch(config: Config, topology: str) -> dict:
  """Returns `check` of the largest batch that fits, in multiples of 8 rows.

  A batch larger by a sixteenth, or by 8 rows, did not fit. Memory is nearly
  linear in the rows, so interpolation needs few compilations. It is not linear
  between neighbours: where memory gets scarce, the compiler trades time for it.
  """

  def fit(rows):
    changed = with_batch(config, topology, rows)
    return _try(f"{rows:,} rows per device", changed, topology)

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
  """Returns changes that make a step fit, each alone, with their reports."""
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
  rows, current = config.train.batch_size, config.train.microbatches
  # The smallest number that fits.
  for microbatches in (2 * current, 4 * current, 8 * current, 16 * current):
    if rows % (microbatches * data * fsdp):
      break
    if fits("train", microbatches=microbatches):
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
  """Returns a vocabulary of the right size; no shape depends on its ids."""
  size = config.data.vocab_size
  sentinels = tuple(range(5, 5 + config.data.num_sentinels))
  return Vocabulary(
    *(size, 0, 1, 2, 3, 4),
    other_special_ids=sentinels,
    sentinel_ids=sentinels,
    starts_word=np.ones(size, bool),
    stops=np.zeros(size, np.int8),
  )


def _reason(message: str) -> str:
  """Returns how much memory a program needs, from the compiler's message."""
  used = re.search(r"Used ([\d.]+)([KMGT]) of", message)
  used = used or re.search(r"\(([\d.]+)([KMGT])\) exceeds", message)
  return f"needs {used[1]} {used[2]}iB" if used else message[:200]


def _memory(run, stats):
  """Returns the memory of a device by use, in GiB."""
  size_of = lambda tree: sum(
    math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
    for x in jax.tree.leaves(tree)
  )
  state = run.abstract_state
  arrays = stats.argument_size_in_bytes + stats.output_size_in_bytes
  arrays -= stats.alias_size_in_bytes
  used = arrays + stats.temp_size_in_bytes + stats.generated_code_size_in_bytes
  sizes = {
    "hbm_used": used,
    "parameters": size_of(state.params),
    "optimizer": size_of(state.opt_state),
    "activations": stats.temp_size_in_bytes,
    "program": stats.generated_code_size_in_bytes,
  }
  return {name: round(size / _GIB, 3) for name, size in sizes.items()}


def _work(run, traced, costs, text):
  """Returns the FLOPs, the traffic and the time of a step, per device."""
  config, devices = run.config, run.mesh.size
  tokens = config.train.batch_size * config.data.seq_len / devices
  model = run.objective.flops_per_token * tokens
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
  peak = hardware.peak_of(run.mesh.devices.flat[0].device_kind)
  # XLA charges -1 s for each op that it cannot estimate: add that back.
  outside = costs["optimal_seconds"]
  outside += max(hlo.num_without_estimate(text), math.ceil(-outside))
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


def answer(request: dict) -> dict:
  """Returns the report that `compile_subprocess.check` requests.

  If something is wrong with the input, the report is the message, as "error".
  """
  topology, rows = request["topology"], request["per_device_batch"]
  try:
    if request["recipe"]:
      # It registers kinds that the configuration may name.
      recipes.read(request["recipe"])
    config = config_lib.build(request["config"])
    if request["find_batch"]:
      report = find_batch(config, topology)
    else:
      config = with_batch(config, topology, rows) if rows else config
      report = check(config, topology)
    if not report["fits"] and request["remedies"]:
      report["remedies"] = remedies(config, topology)
  except InputError as error:
    return {"error": str(error)}
  return report


def _main():
  _LOGGER.addHandler(logging.StreamHandler(sys.stdout))
  _LOGGER.setLevel(logging.INFO)
  print(json.dumps(answer(json.load(sys.stdin))))


if __name__ == "__main__":
  _main()
