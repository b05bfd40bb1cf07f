"""Runs a compile check in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from mlm_jax.errors import InputError
from mlm_jax.tools import tpus

# Neither the TPU compiler nor JAX may look for a TPU, or lock one.
_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "JAX_PLATFORMS": "cpu",
  "TF_CPP_MIN_LOG_LEVEL": "3",
}


def check(
  config: dict,
  topology: str,
  *,
  recipe: str = "",
  per_device_batch: int = 0,
  find_batch: bool = False,
  remedies: bool = False,
  say: Callable[[str], None] = lambda line: None,
) -> dict:
  """Returns the report of `compile_check.check`, computed in a subprocess.

  It also has "run_days", the estimated duration of the whole run.

  Args:
    config: the values of a run's configuration.
    topology: a TPU slice.
    recipe: the recipe file that registered kinds of its own, if any.
    per_device_batch: rows per device; 0 keeps the configured batch size.
    find_batch: search for the largest batch that fits.
    remedies: if the step does not fit, search for changes that make it fit.
    say: receives progress messages, because compiling takes minutes.

  Raises:
    InputError: the topology is unknown, the TPU compiler is missing, or
      compilation fails.
  """
  topology = tpus.topology(topology)
  tpus.check_compiler()
  say(f"compiling the step for {topology}: a minute or more")
  request = {
    "config": config,
    "recipe": recipe,
    "topology": topology,
    "per_device_batch": per_device_batch,
    "find_batch": find_batch,
    "remedies": remedies,
  }
  report = _run(request, say)
  if "error" in report:
    raise InputError(report["error"])
  if report.get("tokens_per_second"):
    train, length = config["train"], config["data"]["seq_len"]
    tokens = train["steps"] * train["batch_size"] * length
    report["run_days"] = tokens / report["tokens_per_second"] / 86_400
  return report


def _run(request: dict, say: Callable[[str], None]) -> dict:
  """Sends a request to the subprocess and returns its last line, parsed."""
  with tempfile.TemporaryFile("w+") as errors:
    with subprocess.Popen(
      [sys.executable, "-m", "mlm_jax.tools.compile_check"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=errors,
      env=os.environ | _ENVIRONMENT,
      text=True,
    ) as child:
      child.stdin.write(json.dumps(request))
      child.stdin.close()
      for line in child.stdout:
        if not line.startswith("{"):
          say(line.rstrip())
    if child.returncode:
      errors.seek(0)
      *_, last = errors.read().strip().splitlines() or ["no message"]
      topology = request["topology"]
      raise InputError(f"the compiler for {topology} failed: {last}")
  return json.loads(line)
