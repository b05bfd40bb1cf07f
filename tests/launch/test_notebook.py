import json
import pathlib
import sys

import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[2]
NOTEBOOK = ROOT / "launch" / "colab_tpu.ipynb"

TINY = {
  "data.vocab_size": 600,
  "data.seq_len": 32,
  "model.num_layers": 1,
  "model.width": 32,
  "model.num_heads": 2,
  "model.mlp_width": 64,
  "optim.warmup_steps": 10,
  "train.batch_size": 8,
  "train.log_every": 10,
  "train.eval_every": 20,
  "train.eval_batches": 2,
}


@pytest.fixture
def notebook():
  return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
  """The name of a kernel of this Python, whichever others are installed."""
  folder = tmp_path / "jupyter" / "kernels" / "python3"
  folder.mkdir(parents=True)
  spec = {
    "argv": [
      sys.executable,
      "-m",
      "ipykernel_launcher",
      "-f",
      "{connection_file}",
    ],
    "display_name": "the tests' Python",
    "language": "python",
    "env": {
      # A single device: compiling for eight fake ones is slower.
      "XLA_FLAGS": "--xla_backend_optimization_level=1 "
      "--xla_llvm_disable_expensive_passes=true",
      "IPYTHONDIR": str(tmp_path / "ipython"),
    },
  }
  (folder / "kernel.json").write_text(json.dumps(spec))
  monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
  return "python3"


@pytest.mark.slow
def test_the_notebook_trains_resumes_evaluates_and_exports(
  notebook, kernel, corpus, tmp_path
):
  overrides = [f"--config.{key}={value}" for key, value in TINY.items()]
  overrides.append(f"--config.data.corpus=text:{corpus}")
  (parameters,) = (
    cell
    for cell in notebook.cells
    if "parameters" in cell.metadata.get("tags", ())
  )
  parameters.source = (
    'SOURCE = "none: it is installed"\n'
    'WORKDIR = "run"\n'
    "STEPS = 40\n"
    "SHORT_STEPS = 300\n"
    f"OVERRIDES = {overrides!r}"
  )
  nbclient.NotebookClient(
    notebook,
    timeout=180,
    kernel_name=kernel,
    resources={"metadata": {"path": str(tmp_path)}},
  ).execute()

  outputs = {
    cell.id: cell.outputs for cell in notebook.cells if "outputs" in cell
  }
  said = {
    name: "".join(output.get("text", "") for output in shown)
    for name, shown in outputs.items()
  }
  assert "No TPU" in said["devices"]
  for name in ("train", "override", "resume"):
    (chart,) = (
      output.data["image/png"] for output in outputs[name] if "data" in output
    )
    assert len(chart) > 10_000
  assert "held-out loss" in said["evaluate"]
  assert said["fill_mask"].count("[MASK]: ") == 2
  assert '"peak_lr": 0.004' in said["override"]
  assert "Stopped at step" in said["override"]
  assert "Continuing from step" in said["resume"]
  records = (tmp_path / "run_words" / "metrics.jsonl").read_text().splitlines()
  assert json.loads(records[-1])["step"] == 300
  exported = json.loads((tmp_path / "run_hf" / "config.json").read_text())
  assert exported["architectures"] == ["ModernBertForMaskedLM"]
  assert said["transformers"].count(" object.") == 5


def test_the_notebook_is_valid_and_has_no_outputs(notebook):
  nbformat.validate(notebook)
  assert notebook.metadata.accelerator == "TPU"
  for cell in notebook.cells:
    if cell.cell_type == "code":
      assert not cell.outputs
      assert cell.execution_count is None
