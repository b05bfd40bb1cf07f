"""launch/slurm.sbatch, with fake SLURM commands."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from mlm_jax.cli.train import STOPPED

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = ROOT / "launch/slurm.sbatch"

# Starts the step's command as SLURM_NTASKS processes on this machine. In the
# first attempt they get SIGTERM as soon as metrics.jsonl has content.
SRUN = """
import os, pathlib, signal, subprocess, sys, time
command = sys.argv[sys.argv.index("python"):]
workdir = next(a.partition("=")[2] for a in command if "--workdir=" in a)
metrics = pathlib.Path(workdir) / "metrics.jsonl"
count = int(os.environ["SLURM_NTASKS"])
tasks = [
  subprocess.Popen(command, env=os.environ | {
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_PROCID": str(i),
    "SLURM_LOCALID": str(i),
  })
  for i in range(count)
]
if os.environ["SLURM_RESTART_COUNT"] == "0":
  while all(task.poll() is None for task in tasks):
    if metrics.exists() and metrics.read_text():
      for task in tasks:
        task.send_signal(signal.SIGTERM)
      break
    time.sleep(0.02)
sys.exit(max(task.wait() for task in tasks))
"""


class Slurm:
  """A folder of fake commands on the PATH, which log their calls."""

  def __init__(self, folder):
    self.folder = folder
    self.log = folder / "log"
    self.log.touch()
    self.add("scontrol")
    self.add("python", f'exec {sys.executable} "$@"', log=False)

  def add(self, name, body="", log=True):
    lines = ["#!/usr/bin/env bash"]
    if log:
      lines.append(f'echo "{name} $*" >> {self.log}')
    path = self.folder / name
    path.write_text("\n".join([*lines, body, ""]))
    path.chmod(0o755)

  def start(self, *arguments, **environment):
    return subprocess.Popen(
      # SLURM runs a copy of the script in the folder of submission.
      ["bash", shutil.copy(SCRIPT, self.folder / "slurm_script"), *arguments],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      cwd=ROOT,
      env=os.environ
      | {
        "PATH": f"{self.folder}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4321",
        "SLURM_NTASKS_PER_NODE": "2",
      }
      | environment,
    )

  def run(self, *arguments, **environment):
    job = self.start(*arguments, **environment)
    job.output = job.communicate(timeout=300)[0]
    return job

  @property
  def calls(self):
    return self.log.read_text().splitlines()


@pytest.fixture
def slurm(tmp_path):
  folder = tmp_path / "slurm"
  folder.mkdir()
  return Slurm(folder)


STEP = "srun --kill-on-bad-exit=0 python -m mlm_jax train --multihost"


def test_finished_training_is_not_requeued(slurm):
  slurm.add("srun", "echo done")
  job = slurm.run("--config=a.py", "--workdir=two words")
  assert (job.returncode, job.output) == (0, "done\n")
  assert slurm.calls == [f"{STEP} --config=a.py --workdir=two words"]


def test_arguments_are_passed_unchanged(slurm):
  slurm.add("srun", 'printf "%s|" "${@: -2}"')
  assert slurm.run("--a=two words", "--b=$x").output == "--a=two words|--b=$x|"


def test_interrupted_training_is_requeued_after_it_has_exited(slurm):
  slurm.add("srun", f"sleep 0.3; echo ended >> {slurm.log}; exit {STOPPED}")
  job = slurm.run("--config=a.py")
  assert job.returncode == 0
  assert slurm.calls == [
    f"{STEP} --config=a.py",
    "ended",
    "scontrol requeue 4321",
  ]


@pytest.mark.parametrize("code", [1, 2, 137, 143])
def test_a_failure_returns_its_exit_code_without_requeue(slurm, code):
  slurm.add("srun", f"exit {code}")
  assert slurm.run().returncode == code
  assert slurm.calls == [STEP]


def test_a_failed_requeue_is_a_failure(slurm):
  slurm.add("srun", f"exit {STOPPED}")
  slurm.add("scontrol", "exit 5")
  assert slurm.run().returncode == 5


def test_a_cancelled_job_is_not_requeued(slurm):
  # scancel signals the shell as well as the tasks, which save and exit.
  slurm.add(
    "srun",
    f"echo begun; sleep 0.5; echo ended >> {slurm.log}; exit {STOPPED}",
  )
  job = slurm.start()
  assert job.stdout.readline() == "begun\n"
  job.send_signal(signal.SIGTERM)
  job.communicate(timeout=20)
  assert job.returncode == -signal.SIGTERM
  assert slurm.calls == [STEP, "ended"]


@pytest.mark.parametrize(
  ("tasks", "devices"), [("1", "0,1,2,3"), ("4", "as JAX chooses")]
)
def test_one_process_per_node_uses_all_gpus_and_one_per_gpu_its_own(
  slurm, tasks, devices
):
  slurm.add("srun", 'echo "${JAX_LOCAL_DEVICE_IDS:-as JAX chooses}"')
  job = slurm.run(SLURM_NTASKS_PER_NODE=tasks, SLURM_GPUS_ON_NODE="4")
  assert job.output == f"{devices}\n"


def test_the_virtual_environment_is_activated(slurm, tmp_path):
  (tmp_path / "bin").mkdir()
  (tmp_path / "bin/activate").write_text("export ENTERED=yes\n")
  slurm.add("srun", 'echo "${ENTERED:-no}, $SRUN_CPUS_PER_TASK CPUs"')
  job = slurm.run(VENV=str(tmp_path), SLURM_CPUS_PER_TASK="6")
  assert job.output == "yes, 6 CPUs\n"


def test_sbatch_options():
  head, _, rest = SCRIPT.read_text().partition("\nset -euo")
  # sbatch stops reading options at the first command.
  assert "#SBATCH" not in rest
  assert all(line[:1] in ("", "#") for line in head.splitlines())
  options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", head, re.MULTILINE))
  assert "requeue" in options and options["open-mode"] == "append"
  assert re.fullmatch(r"TERM@\d+", options["signal"])
  assert options["ntasks-per-node"] == options["gpus-per-node"]
  assert "gpus-per-task" not in options


def free_job_id():
  """Returns a job id whose port, which JAX derives from the id, is free."""
  for job_id in range(os.getpid() % 4096, 4096):
    with socket.socket() as one:
      if one.connect_ex(("localhost", 65535 - 4095 + job_id)):
        return str(job_id + 4096)
  raise AssertionError("no free port")


def metrics(workdir):
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_two_preempted_processes_finish_as_an_uninterrupted_run(
  slurm, recipe, trained, tmp_path
):
  workdir = tmp_path / "run"
  slurm.add("srun", f"exec {sys.executable} - \"$@\" <<'END'\n{SRUN}\nEND")
  environment = {
    "SLURM_JOB_ID": free_job_id(),
    "SLURM_NTASKS": "2",
    "XLA_FLAGS": os.environ["XLA_FLAGS"].replace("count=8", "count=1"),
  }
  arguments = [
    f"--config={recipe}",
    f"--workdir={workdir}",
    # As in `trained`.
    "--config.train.steps=60",
    "--config.train.checkpoint_every=30",
  ]
  first = slurm.run(*arguments, **environment, SLURM_RESTART_COUNT="0")
  assert first.returncode == 0, first.output
  requeue = f"scontrol requeue {environment['SLURM_JOB_ID']}"
  assert slurm.calls[1:] == [requeue], first.output
  assert metrics(workdir)[-1]["step"] < 60

  second = slurm.run(*arguments, **environment, SLURM_RESTART_COUNT="1")
  assert second.returncode == 0, second.output
  assert "Continuing from step" in second.output
  assert slurm.calls.count(requeue) == 1
  # Both processes saved a shard of the state.
  shards = {p.name for p in workdir.glob("checkpoints/60/*/ocdbt.process_*")}
  assert shards == {"ocdbt.process_0", "ocdbt.process_1"}
  # One of them wrote the metrics, over the batches of both.
  ours, theirs = metrics(workdir), metrics(trained)
  assert [line["step"] for line in ours] == [line["step"] for line in theirs]
  np.testing.assert_allclose(
    [line["loss"] for line in ours],
    [line["loss"] for line in theirs],
    rtol=1e-3,
  )
  assert ours[-1]["tokens_seen"] == theirs[-1]["tokens_seen"]
