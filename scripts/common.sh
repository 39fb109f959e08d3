# Shared by the scripts beside it, which source it. It leaves the caller in the checkout's root.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
LOGS=$ROOT/build/logs
export PATH="$ROOT/.venv/bin:$PATH"
export PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }
title() { say; say "== $*"; }
fail() {
  say "${0##*/}: $*"
  exit 1
}

# logged LABEL COMMAND…: runs the command with its output in a log file, says every 15 s that it still runs, and
# stops everything with the log's end if it fails.
logged() {
  local label=$1 log start=$SECONDS next=15 pid status=0
  shift
  mkdir -p "$LOGS"
  log=$LOGS/${label//[^A-Za-z0-9]/-}.log
  say "-- $label"
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - start >= next)); then
      next=$((SECONDS - start + 15))
      say "   … $((SECONDS - start)) s: $(tail -n 3 "$log" | tr '\r' '\n' | sed '/^[[:space:]]*$/d' | tail -n 1 | cut -c 1-100)"
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if ((status)); then
    tail -n 30 "$log" >&2
    fail "'$label' failed (exit status $status); all of its output is in ${log#"$ROOT"/}"
  fi
  say "   done in $((SECONDS - start)) s"
}

# The first folder of a list of prefixes that holds a LibTorch.
libtorch_in() {
  local folder folders
  IFS=';:' read -ra folders <<<"$1"
  for folder in ${folders[@]+"${folders[@]}"}; do
    if [[ -f $folder/include/ATen/ATen.h ]]; then
      echo "$folder"
      return
    fi
  done
}

# How many compilers run at once: one a core, but no more than there is memory for (a file with LibTorch's headers takes 2 GB).
jobs_at_once() {
  local memory_kb
  memory_kb=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
  local by_memory=$((memory_kb / 2000000)) cores
  cores=$(env -u OMP_NUM_THREADS nproc) # nproc takes that for the number of cores
  ((by_memory < 1)) && by_memory=1
  echo $((by_memory < cores ? by_memory : cores))
}

# configure DIRECTORY PRESET [-DNAME=VALUE…]: CMake, with a preset of CMakePresets.json unless that is empty. A folder that is set up
# keeps what it was given.
configure() {
  local directory=$1 preset=$2
  shift 2
  [[ ! -f $directory/build.ninja ]] || preset=
  logged "cmake $directory" cmake ${preset:+--preset "$preset"} -S . -B "$directory" \
    -DCMAKE_MAKE_PROGRAM="$ROOT/.venv/bin/ninja" "$@"
}
