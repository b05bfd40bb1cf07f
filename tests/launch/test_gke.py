"""The JobSet fits its schema and handles the exit codes of train."""

import math
import pathlib

import pytest
import yaml
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import (
  JobsetV1alpha2JobSet,
)

from mlm_jax import recipes
from mlm_jax.cli import train
from mlm_jax.cli.table import parser

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def jobset():
  return yaml.safe_load((ROOT / "launch/gke/jobset.yaml").read_text())


@pytest.fixture
def job(jobset):
  (replicated,) = jobset["spec"]["replicatedJobs"]
  return replicated["template"]["spec"]


@pytest.fixture
def container(job):
  (container,) = job["template"]["spec"]["containers"]
  return container


def test_the_manifest_fits_the_schema_of_jobset(jobset):
  # Unknown keys are dropped, wrong types raise.
  assert JobsetV1alpha2JobSet.from_dict(jobset).to_dict() == jobset


def test_the_schema_drops_unknown_keys(jobset, job):
  job["podFailurePolicies"] = job.pop("podFailurePolicy")
  assert JobsetV1alpha2JobSet.from_dict(jobset).to_dict() != jobset


def test_a_slice_has_as_many_pods_as_hosts(job, container):
  layout = job["template"]["spec"]["nodeSelector"]
  chips = layout["cloud.google.com/gke-tpu-topology"].split("x")
  hosts = (
    math.prod(map(int, chips))
    / container["resources"]["limits"]["google.com/tpu"]
  )
  assert job["parallelism"] == job["completions"] == hosts > 1


def test_failures_count_as_restarts_and_preemptions_do_not(jobset, job):
  policy = jobset["spec"]["failurePolicy"]
  (rule,) = policy["rules"]
  assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
  # Otherwise the rule would match every failure.
  assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
  assert policy["maxRestarts"] > 0 and job["backoffLimit"] == 0
  # podFailurePolicy requires that pods are not restarted in place.
  assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_the_exit_code_of_stopped_training_is_a_preemption(job, container):
  rules = job["podFailurePolicy"]["rules"]
  (codes,) = [rule["onExitCodes"] for rule in rules if "onExitCodes" in rule]
  assert codes["operator"] == "In" and codes["values"] == [train.STOPPED]
  assert codes["containerName"] == container["name"]
  assert {rule["action"] for rule in rules} == {"FailJob"}


def test_the_container_runs_train_with_valid_arguments(container):
  # Kubernetes must signal the process that saves, not a shell.
  assert container["command"][:3] == ["python", "-m", "mlm_jax"]
  name, *words = container["command"][3:] + container["args"]
  args, overrides = parser(name).parse_known_args(words)
  assert name == "train" and args.multihost and not overrides
  recipes.read(args.config)
  assert args.workdir.startswith("gs://")
