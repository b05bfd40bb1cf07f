"""What a compile check found, for people."""

import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable

from mlm_jax import config as config_lib
from mlm_jax import recipes
from mlm_jax.errors import InputError, require
from mlm_jax.tools import tpus

_ESTIMATES = "the compiler's estimates, not measured:"
_TOKENS = 16_384
_ABOUT = """# Every recipe, compiled for TPUs that were not there

`python -m mlm_jax compile_check --all {asked}`, {versions}.
Nothing here was measured on a TPU: memory and traffic are the compiler's plan,
time and utilisation its estimates, to which attention kernels are added at the
highest rate that their heads allow. Collectives are of one step, with what one
device sends.

"""


def ask(
  config: dict,
  topology: str,
  *,
  per_device_batch: int = 0,
  find_batch: bool = False,
  remedies: bool = False,
  say: Callable[[str], None] = lambda line: None,
) -> dict:
  """Returns what `compile_check.check` does, of a process of its own.

  And run_days, what all tokens of the run would take by the estimate.

  Args:
    config: the values of a run's configuration.
    topology: a TPU slice.
    per_device_batch: rows of a device; 0 as configured.
    find_batch: as many rows as fit.
    remedies: if it does not fit, find what would.
    say: is told what is tried, as that takes minutes.

  Raises:
    InputError: it cannot be compiled for it.
  """
  topology = tpus.topology(topology)
  tpus.check_compiler()
  say(f"compiling the step for {topology}: a minute or more")
  asked = {
    "config": config,
    "topology": topology,
    "per_device_batch": per_device_batch,
    "find_batch": find_batch,
    "remedies": remedies,
  }
  # The compiler would look for a TPU and lock it, JAX would look for it, too.
  env = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
  }
  with tempfile.TemporaryFile("w+") as errors:
    with subprocess.Popen(
      [sys.executable, "-m", "mlm_jax.tools.compile_check"],
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=errors,
      env=os.environ | env,
      text=True,
    ) as child:
      child.stdin.write(json.dumps(asked))
      child.stdin.close()
      for line in child.stdout:
        if not line.startswith("{"):
          say(line.rstrip())
    if child.returncode:
      errors.seek(0)
      *_, last = errors.read().strip().splitlines() or ["no message"]
      raise InputError(f"the compiler for {topology} failed: {last}")
  report = json.loads(line)
  if "error" in report:
    raise InputError(report["error"])
  if report.get("tokens_per_second"):
    train, length = config["train"], config["data"]["seq_len"]
    tokens = train["steps"] * train["batch_size"] * length
    report["run_days"] = tokens / report["tokens_per_second"] / 86_400
  return report


def lines(report: dict, price: float = 0.0) -> list[str]:
  """Returns a report as a table, a line each.

  Args:
    report: as `compile_check.check` has it.
    price: of a chip's hour; 0 is not asked.
  """
  rows = report["batch_size"]
  parts = report["microbatches"]
  in_parts = f", {parts} micro-batches" if parts > 1 else ""
  each = report["per_device_batch"]
  head = (
    f"{report['topology']}, {report['devices']} devices: {rows:,} rows of "
    f"{report['seq_len']:,} tokens, {each:,} a device{in_parts}"
  )
  if not report["fits"]:
    available = report["hbm_available"]
    found = [head, _line("fits", f"no: {report['why']}, {available} GiB there")]
    for name, other in report.get("remedies", []):
      found.append(_line(f"  fits with {name}", f"{other['hbm_used']:.2f} GiB"))
    if report.get("remedies") == []:
      found.append(_line("", "nothing that was tried makes it fit"))
    return found
  shares = ", ".join(
    f"{name} {report[name]:.2f}"
    for name in ("parameters", "optimizer", "activations", "program")
  )
  used, available = report["hbm_used"], report["hbm_available"]
  ratio = report["compiled_flops"] / report["model_flops"]
  found = [
    head,
    _line("fits", f"{used:.2f} of {available} GiB: {shares}"),
    _line("compiled in", f"{report['compile_seconds']} s"),
    _line("FLOPs", f"{ratio:.3f} times what the model must compute"),
  ]
  for moved in report["collectives"]:
    sent = f"{moved['count']}, {moved['bytes'] / 1e6:,.1f} MB sent by a device"
    found.append(_line(moved["kind"], sent))
  if report["step_seconds"] is None:
    note = "not told of a step with a loop: --per_device_batch has none"
    return [*found, _line("traffic, time", note)]
  traffic = f"{report['bytes_per_token'] / 1e6:.2f} MB a token"
  per_day = report["tokens_per_second"] * 86_400
  seconds = report["step_seconds"]
  found += [
    _line("HBM traffic", traffic),
    _ESTIMATES,
    _line("step", f"{1e3 * seconds:.1f} ms"),
    _line(
      "utilisation",
      f"{report['utilisation']:.1%}; {report['utilisation_outside']:.1%} "
      "outside of attention",
    ),
    _line("tokens a day", f"{per_day / 1e9:,.1f} billion"),
    _line("the whole run", f"{report['run_days']:,.1f} days"),
  ]
  if price:
    cost = price * 24 * report["run_days"] * report["chips"]
    found.append(_line("cost", f"{cost:,.0f} at {price} a chip's hour"))
  return found


def write_all(topologies, out, say) -> None:
  """Writes a table of every shipped recipe on each of the slices.

  Each has about as many tokens on a device as keep its matrix units busy.

  Args:
    topologies: the slices.
    out: the file, written anew after each program.
    say: is told what was found.

  Raises:
    InputError: there is no folder for the file, or a recipe cannot be compiled.
  """
  require(out.parent.is_dir(), f"no {out.parent}/ here to write {out.name} to")
  tpus.check_compiler()
  versions = ", ".join(
    f"{name} {importlib.metadata.version(name)}" for name in ("jax", "libtpu")
  )
  asked = " ".join(f"--topology={topology}" for topology in topologies)
  about = _ABOUT.format(asked=asked, versions=versions)
  reports = []
  for name in recipes.shipped():
    config = config_lib.build(recipes.read(name).values)
    rows = max(1, _TOKENS // config.data.seq_len)
    for topology in topologies:
      report = ask(dataclasses.asdict(config), topology, per_device_batch=rows)
      say("\n".join([name, *lines(report)]))
      reports.append((name, report))
      out.write_text(about + markdown(reports))


def markdown(reports: list[tuple[str, dict]]) -> str:
  """Returns a table, a line for each (recipe, report)."""
  head = (
    "| recipe | slice | rows a device | HBM GiB | FLOPs / model's | MB a token "
    "| collectives, MB | step ms | utilisation | outside attention |"
  )
  rows = [head, "|" + "---|" * 10]
  for name, report in reports:
    cells = [name, report["topology"]]
    cells.append(f"{report['per_device_batch']}")
    if not report["fits"]:
      rows.append(_row([*cells, f"does not fit: {report['why']}", *[""] * 6]))
      continue
    moved = "; ".join(
      f"{m['count']} {m['kind']}, {m['bytes'] / 1e6:,.0f}"
      for m in report["collectives"]
    )
    cells += [
      f"{report['hbm_used']:.2f} of {report['hbm_available']}",
      f"{report['compiled_flops'] / report['model_flops']:.3f}",
    ]
    if report["step_seconds"] is None:
      rows.append(_row([*cells, "", moved, "", "", ""]))
      continue
    cells += [f"{report['bytes_per_token'] / 1e6:.2f}", moved]
    cells += [f"{1e3 * report['step_seconds']:.1f}"]
    cells += [
      f"{report[key]:.1%}" for key in ("utilisation", "utilisation_outside")
    ]
    rows.append(_row(cells))
  return "\n".join(rows) + "\n"


def _row(cells):
  return f"| {' | '.join(cells)} |"


def _line(name, value):
  return f"  {name:<20} {value}"
