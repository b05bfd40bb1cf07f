#!/usr/bin/env bash
# Trains on a Cloud TPU VM or pod slice, from its creation to the end of the run.
#
#   launch/tpu_vm.sh train --name=bert --zone=us-west4-a --type=v5litepod-16 --spot \
#     -- --config=bert_base --workdir=gs://BUCKET/bert
#
#   create   makes the TPU and waits for it
#   setup    installs this checkout's mlm_jax on every worker
#   train    all of it: checks that the step fits, creates, sets up, starts `train`
#            on every worker and streams worker 0's log; what is preempted is made
#            anew and goes on from the last checkpoint, until the run is done
#   logs     streams worker 0's log
#   status   the TPU's state, and the last line of the log
#   delete   deletes it
#
#   --name=NAME --zone=ZONE    which TPU
#   --type=TYPE                gcloud's accelerator type: v4-8, v5litepod-16, v5p-8, v6e-4
#   --project=PROJECT          else gcloud's own
#   --version=VERSION          of the TPU's software, else the type's usual one
#   --queued                   wait in the queue of queued resources
#   --spot                     cheaper, and may be preempted
#   --slices=N                 so many slices, which train as one; implies --queued
#   --delete_after             delete the TPU when the run has ended, well or not
#   --force                    train even if compile_check says that it will not fit
#   --dry_run                  print the calls and make none
#   -- ARGUMENTS               of `python -m mlm_jax train`; --workdir is on gs://
#
# Ctrl-C ends the watching and leaves the training alone: the same `train` goes on
# watching. The machine that watches needs gcloud, and Python with mlm_jax, and
# libtpu for the check ($PYTHON, else python).
set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
PYTHON="${PYTHON:-python}"
POLL="${POLL_SECONDS:-20}"
# What `train` returns when it was stopped before the end.
STOPPED=75

say() { echo "tpu_vm: $*" >&2; }
fail() { say "$*"; exit 2; }
usage() { sed -n '2,/^set /p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; }

# Prints a call before it is made, once where it is repeated.
call() {
  local line
  line="$(printf ' %q' "$@")"
  [[ "$line" == "$printed" ]] || echo "+$line" >&2
  printed="$line"
  [[ -n "$dry_run" ]] || "$@"
}

parse() {
  command="${1:-}"
  name="" zone="" type="" project="" version="" slices=1
  queued="" spot="" delete_after="" force="" dry_run=""
  arguments=()
  case "$command" in
    create | setup | train | logs | status | delete) shift ;;
    "" | -h | --help | help) usage; exit 0 ;;
    *) fail "unknown command '$command'; known: create, setup, train, logs, status, delete" ;;
  esac
  while (($#)); do
    case "$1" in
      --name=* | --zone=* | --type=* | --project=* | --version=* | --slices=*)
        local key="${1%%=*}"
        printf -v "${key#--}" %s "${1#*=}"
        ;;
      --queued) queued=1 ;;
      --spot) spot=1 ;;
      --delete_after) delete_after=1 ;;
      --force) force=1 ;;
      --dry_run) dry_run=1 ;;
      -h | --help) usage; exit 0 ;;
      --) shift; arguments=("$@"); break ;;
      *) fail "unknown option '$1'; see --help (what is for train comes after --)" ;;
    esac
    shift
  done
  [[ -n "$name" && -n "$zone" ]] || fail "--name and --zone are needed"
  [[ "$slices" =~ ^[1-9][0-9]*$ ]] || fail "--slices must be a number, not '$slices'"
  where=("--zone=$zone")
  [[ -z "$project" ]] || where+=("--project=$project")
  nodes=("$name")
  if ((slices > 1)); then
    queued=1 nodes=()
    # As gcloud numbers them behind the prefix.
    for ((i = 0; i < slices; i++)); do nodes+=("$name-$i"); done
  fi
}

need_type() {
  [[ -n "$type" ]] || fail "--type is needed, such as v5litepod-16"
  [[ -z "$version" ]] || return 0
  case "$type" in
    v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    v5p-*) version=v2-alpha-tpuv5 ;;
    v6e-*) version=v2-alpha-tpuv6e ;;
    v2-* | v3-* | v4-*) version=tpu-ubuntu2204-base ;;
    *) fail "--version is needed: nothing is known of --type=$type" ;;
  esac
}

tpu_vm() { call gcloud compute tpus tpu-vm "$@"; }
queue() { call gcloud compute tpus queued-resources "$@"; }

# Sets `state`: READY where training can begin, empty where there is no TPU.
look() {
  local file="$scratch/state" found=0
  if [[ -n "$queued" ]]; then
    queue describe "$name" "${where[@]}" '--format=value(state.state)' \
      > "$file" 2> "$file.error" || found=$?
  else
    tpu_vm describe "$name" "${where[@]}" '--format=value(state)' \
      > "$file" 2> "$file.error" || found=$?
  fi
  grep '^+' "$file.error" >&2 || true # The call itself.
  state="$(< "$file")"
  state="${state/#ACTIVE/READY}"
  if [[ -n "$dry_run" ]]; then
    state="${created:+READY}"
  elif ((found)) && ! grep -q NOT_FOUND "$file.error"; then
    # Not to be taken for a TPU that is not there.
    grep -v '^+' "$file.error" >&2 || true
    state=UNKNOWN
  fi
}

# Makes the TPU, anew where it was preempted, and waits for it.
create() {
  local last=""
  need_type
  while look && [[ "$state" != READY ]]; do
    [[ "$state" == "$last" ]] || say "$name: ${state:-not there yet}"
    last="$state"
    case "$state" in
      "") request ;;
      PREEMPTED | SUSPENDED | STOPPED | TERMINATED) delete || sleep "$POLL" ;;
      FAILED)
        delete || true
        fail "could not get $name"
        ;;
      *) sleep "$POLL" ;;
    esac
  done
}

request() {
  local options=("${where[@]}" "--accelerator-type=$type")
  [[ -z "$spot" ]] || options+=(--spot)
  if ((slices > 1)); then
    queue create "$name" "${options[@]}" "--runtime-version=$version" \
      "--node-count=$slices" "--node-prefix=$name" && created=1
  elif [[ -n "$queued" ]]; then
    queue create "$name" "${options[@]}" "--runtime-version=$version" \
      "--node-id=$name" && created=1
  else
    tpu_vm create "$name" "${options[@]}" "--version=$version" && created=1
  fi || {
    # What is left of it would be in the way, and may be paid for.
    look
    [[ -z "$state" ]] || delete || true
    [[ -n "$queued" ]] || say "with --queued it would wait for room"
    fail "could not create $name"
  }
}

delete() {
  if [[ -n "$queued" ]]; then
    queue delete "$name" "${where[@]}" --force --quiet
  else
    tpu_vm delete "$name" "${where[@]}" --quiet
  fi
}

# Runs a command line on workers (all, or a number) of a node.
on() {
  tpu_vm ssh "$1" "${where[@]}" "--worker=$2" "--command=$3"
}

on_all() {
  local node
  for node in "${nodes[@]}"; do on "$node" all "$1" || return; done
}

setup() {
  local wheel node
  rm -f "$scratch"/*.whl
  call "$PYTHON" -m pip wheel --quiet --no-deps "--wheel-dir=$scratch" "$ROOT" || return
  wheel="$(cd "$scratch" && echo mlm_jax-*.whl)"
  for node in "${nodes[@]}"; do
    tpu_vm scp "$scratch/$wheel" "$node:$wheel" "${where[@]}" --worker=all || return
    if [[ -n "$recipe" ]]; then
      tpu_vm scp "$recipe" "$node:recipe.py" "${where[@]}" --worker=all || return
    fi
  done
  # The TPU's own Python is too old; uv brings one.
  on_all "python3 -m pip install --user --quiet uv &&
python3 -m uv venv --quiet --allow-existing --python=3.12 mlm_jax_venv &&
python3 -m uv pip install --quiet --python=mlm_jax_venv --reinstall-package=mlm_jax './${wheel}[tpu]'"
}

# Sorts what is for `train`. A recipe that lies here, and not in the package, goes
# along; the check wants no access to the bucket, if it can do without.
read_arguments() {
  local argument config="" workdir=""
  remote=() checked=() recipe=""
  for argument in ${arguments[@]+"${arguments[@]}"}; do
    case "$argument" in
      --config=*)
        config="${argument#*=}"
        checked+=("$argument")
        if [[ -f "$config" ]]; then
          recipe="$config"
          argument=--config=recipe.py
        fi
        ;;
      --config.*=*) checked+=("$argument") ;;
      --workdir=gs://*) workdir="$argument" ;;
      --workdir=*) fail "$argument must be on gs://: the disks of TPUs go with them" ;;
      *) fail "train does not take '$argument' here (write --key=value)" ;;
    esac
    remote+=("$argument")
  done
  [[ -n "$workdir" ]] || fail "-- --workdir=gs://... is needed"
  [[ -n "$config" ]] || checked+=("$workdir")
}

check_fits() {
  local topology="$type"
  ((slices == 1)) || topology+="*$slices"
  say "compiling the step for $topology"
  call "$PYTHON" -m mlm_jax compile_check "${checked[@]}" "--topology=$topology" ||
    [[ -n "$force" ]] || fail "nothing was created; --force trains all the same"
}

# shellcheck disable=SC2016 # The worker expands it.
RUNNING='kill -0 "$(cat train.pid)" 2> /dev/null'

running() { [[ -z "$dry_run" ]] && on "${nodes[0]}" 0 "$RUNNING"; }

start() {
  local train=(mlm_jax_venv/bin/python -m mlm_jax train --multihost "${remote[@]}")
  local line
  line="$(printf '%q ' "${train[@]}")> train.log 2>&1; echo \$? > train.exit"
  on_all "$RUNNING || {
rm -f train.exit
nohup bash -c $(printf %q "$line") > /dev/null 2>&1 < /dev/null &
echo \$! > train.pid
}"
}

# Ends when the training does, or the connection.
logs() {
  on "${nodes[0]}" 0 "tail --lines=${1:-+1} --follow train.log &
while $RUNNING; do sleep 1; done; sleep 1; kill \$!"
}

# What `train` returned on worker 0: empty while it runs, or cannot be asked.
exit_code() {
  if [[ -n "$dry_run" ]]; then
    echo 0
  else
    on "${nodes[0]}" 0 "cat train.exit" 2> /dev/null | tr -dc 0-9 || true
  fi
}

train() {
  local code="" lines=+1 failures=0
  need_type
  read_arguments
  look
  [[ "$state" == READY ]] || check_fits
  until [[ -n "$code" && "$code" != "$STOPPED" ]]; do
    create
    if running || { setup && start; }; then
      failures=0
      logs "$lines" || true
      code="$(exit_code)"
      # After a break of the connection, what is new.
      [[ -n "$code" ]] && lines=+1 || lines=5
    elif ((++failures == 3)); then
      say "could not set up $name"
      code=1
    fi
    # A TPU's state tells of its preemption a little later.
    [[ "$code" =~ ^[0-9]+$ && "$code" != "$STOPPED" ]] || sleep "$POLL"
  done
  if ((code)); then
    say "training failed with exit code $code; its log is above"
  else
    say "the run is done"
  fi
  if [[ -n "$delete_after" ]]; then
    delete
  else
    say "$name is still there, and paid for: $0 delete --name=$name --zone=$zone${queued:+ --queued}"
  fi
  return "$code"
}

status() {
  look
  echo "$name: ${state:-not there}"
  [[ "$state" != READY ]] || on "${nodes[0]}" 0 "tail --lines=1 train.log"
}

parse "$@"
created="" recipe="" printed="" state=""
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
"$command"
