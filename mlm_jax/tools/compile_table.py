"""A Markdown table of every shipped recipe, compiled for TPU slices."""

import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Callable, Sequence

from mlm_jax import recipes
from mlm_jax.errors import require
from mlm_jax.tools import compile_report, compile_subprocess, tpus

# Tokens per device: enough to keep the matrix units busy.
_TOKENS = 16_384
_HEADER = """# Every recipe, compiled for TPUs without hardware

`python -m mlm_jax compile_check --all {options}`, {versions}.
Nothing here was measured on a TPU: memory and traffic are the compiler's plan,
time and utilisation its estimates, to which attention kernels are added at the
highest rate that their head width allows. Collectives are those of one step,
with the bytes that one device sends.

"""
_COLUMNS = (
  "recipe",
  "slice",
  "rows per device",
  "HBM GiB",
  "FLOPs / model's",
  "MB per token",
  "collectives, MB",
  "step ms",
  "utilisation",
  "outside attention",
)


def write(
  topologies: Sequence[str], out: pathlib.Path, say: Callable[[str], None]
) -> None:
  """Compiles every shipped recipe for each slice and writes the table.

  Args:
    topologies: the slices.
    out: the file, rewritten after each compilation.
    say: receives each report as text.

  Raises:
    InputError: the folder of `out` does not exist, or a recipe does not
      compile.
  """
  require(out.parent.is_dir(), f"no folder {out.parent}/ for {out.name}")
  tpus.check_compiler()
  versions = ", ".join(
    f"{name} {importlib.metadata.version(name)}" for name in ("jax", "libtpu")
  )
  options = " ".join(f"--topology={topology}" for topology in topologies)
  header = _HEADER.format(options=options, versions=versions)
  reports = []
  for name in recipes.shipped():
    config = recipes.load(name).phases[0].config
    rows = max(1, _TOKENS // config.data.seq_len)
    for topology in topologies:
      report = compile_subprocess.check(
        dataclasses.asdict(config), topology, per_device_batch=rows
      )
      say("\n".join([name, *compile_report.lines(report)]))
      reports.append((name, report))
      out.write_text(header + markdown(reports))


def markdown(reports: Sequence[tuple[str, dict]]) -> str:
  """Returns a Markdown table with one row per (recipe, report)."""
  rows = [_row(_COLUMNS), "|" + "---|" * len(_COLUMNS)]
  for name, report in reports:
    cells = [name, *_cells(report)]
    rows.append(_row([*cells, *[""] * (len(_COLUMNS) - len(cells))]))
  return "\n".join(rows) + "\n"


def _cells(report: dict) -> list[str]:
  """Returns the cells of a report; those it has no values for may be left."""
  cells = [report["topology"], f"{report['per_device_batch']}"]
  if not report["fits"]:
    return [*cells, f"does not fit: {report['why']}"]
  collectives = "; ".join(
    f"{c['count']} {c['kind']}, {c['bytes'] / 1e6:,.0f}"
    for c in report["collectives"]
  )
  cells += [
    f"{report['hbm_used']:.2f} of {report['hbm_available']}",
    f"{report['compiled_flops'] / report['model_flops']:.3f}",
  ]
  if report["step_seconds"] is None:
    return [*cells, "", collectives]
  return [
    *cells,
    f"{report['bytes_per_token'] / 1e6:.2f}",
    collectives,
    f"{1e3 * report['step_seconds']:.1f}",
    f"{report['utilisation']:.1%}",
    f"{report['utilisation_outside']:.1%}",
  ]


def _row(cells: Sequence[str]) -> str:
  return f"| {' | '.join(cells)} |"
