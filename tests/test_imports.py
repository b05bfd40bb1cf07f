"""The house's rules about who may import whom, read off the syntax trees."""

import ast
import pathlib
import subprocess
import sys

PACKAGE = pathlib.Path(__file__).parents[1] / "mlm_jax"

# Each may import from those before it.
ORDER = [
  "data",
  "models",
  "objectives",
  "training",
  "evaluation",
  "hf",
  "tools",
  "cli",
]
GROUND = {
  "batch",
  "errors",
  "config",
  "families",
  "phases",
  "recipes",
  "references",
  "registry",
  "vocabulary",
  "workdir",
  "progress",
  "host_memory",
}


def imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield node.module
      # "from mlm_jax.data import rows" imports mlm_jax.data.rows.
      yield from (f"{node.module}.{name.name}" for name in node.names)


def test_a_subpackage_imports_only_from_those_above_it():
  folders = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
  assert folders == {*ORDER, "config"}
  for rank, folder in enumerate(ORDER):
    allowed = {*ORDER[: rank + 1], *GROUND, "__version__"}
    if folder == "cli":
      allowed.add("api")
    for path in (PACKAGE / folder).rglob("*.py"):
      for name in imports(path):
        parts = name.split(".")
        if parts[0] == "mlm_jax" and len(parts) > 1:
          assert parts[1] in allowed, f"{path.name} imports {name}"


def test_the_ground_imports_no_subpackage():
  paths = [p for p in PACKAGE.glob("*.py") if p.stem in GROUND]
  for path in (*paths, *(PACKAGE / "config").glob("*.py")):
    for name in imports(path):
      parts = name.split(".")
      assert parts[0] != "mlm_jax" or set(parts[1:2]) <= GROUND, name


def test_tensorflow_lives_in_data_alone():
  for path in PACKAGE.rglob("*.py"):
    if path.relative_to(PACKAGE).parts[0] != "data":
      for name in imports(path):
        assert not name.startswith("tensorflow"), path


def test_models_objectives_and_steps_need_no_tensorflow():
  modules = (
    "mlm_jax.models.composite, mlm_jax.objectives.mlm, mlm_jax.training.loop, "
    "mlm_jax.evaluation.fill_mask, mlm_jax.objectives.rtd, "
    "mlm_jax.objectives.cmlm, mlm_jax.objectives.mixture"
  )
  # None in sys.modules makes every import of it fail.
  code = f"import sys; sys.modules['tensorflow'] = None; import {modules}"
  subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_lines_have_80_columns():
  for folder in ("mlm_jax", "configs", "bench", "tests", "launch"):
    for path in (PACKAGE.parent / folder).rglob("*.py"):
      for number, line in enumerate(path.read_text().splitlines(), 1):
        assert len(line) <= 80, f"{path}:{number}"


def test_no_function_is_longer_than_60_lines():
  """Its docstring is not counted."""
  for path in PACKAGE.rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef):
        doc = ast.get_docstring(node, clean=False)
        lines = node.end_lineno - node.lineno + 1
        lines -= len(doc.splitlines()) if doc else 0
        assert lines <= 60, f"{path}:{node.lineno} {node.name}"


def test_no_file_outgrows_a_reader():
  for path in PACKAGE.rglob("*.py"):
    assert len(path.read_text().splitlines()) <= 400, path
    assert path.stem not in ("utils", "helpers", "common", "misc")
