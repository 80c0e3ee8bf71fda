# shellcheck shell=bash
# cluster_common.sh - what slurm.sh, sge.sh and condor.sh share; to be sourced, with $NAME set to the name of the script.
#
# A scheduler runs in namespaces of its own: its network has only loopback, its host is called "localhost" (the one
# name that resolves everywhere), its state lies in memory, and its processes end with the first of them, whatever
# ends that: the command's end, Ctrl-C, or a kill. So nothing is reachable from outside, and nothing is left behind.
set -euo pipefail
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin
die() { echo "$NAME.sh: ERROR: $*" >&2; exit 125; }
say() { echo "$NAME.sh: $*" >&2; }

unsupported() {
  [ "$(uname -s)" = Linux ] || { echo "it needs Linux"; return; }
  [ "$(id -u)" = 0 ] || { echo "it needs root"; return; }
  command -v apt-get >/dev/null || [ -n "${1:-}" ] || { echo "it needs Debian's or Ubuntu's apt-get"; return; }
  unshare --mount --pid --fork --net --uts --ipc mount -t tmpfs tmpfs /run 2>/dev/null ||
    echo "new namespaces are not permitted here"
}

# missing PACKAGE... : those that are not installed
missing() {
  local package
  for package; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || :)" = installed ] || echo "$package"
  done
}

# install PACKAGE... : by apt-get, under a host name that resolves, and without starting a daemon. The mounts are
# of this command's own namespace.
install_packages() {
  say "installing $*"
  local log
  log=$(mktemp)
  # shellcheck disable=SC2016,SC2094
  unshare --uts --mount -- bash -c '
    hostname localhost
    printf "#!/bin/sh\nexit 101\n" >"$1.policy"; chmod 755 "$1.policy"
    if [ -e /usr/sbin/policy-rc.d ]; then mount --bind "$1.policy" /usr/sbin/policy-rc.d; made=; else
      made=1; cp -p "$1.policy" /usr/sbin/policy-rc.d; fi
    trap "rm -f \"$1.policy\"; [ -z \"$made\" ] || rm -f /usr/sbin/policy-rc.d" EXIT
    export DEBIAN_FRONTEND=noninteractive
    apt="apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends install"
    $apt "${@:2}" || { apt-get update && $apt "${@:2}"; }
  ' _ "$log" "$@" >"$log" 2>&1 || { tail -30 "$log" >&2; rm -f "$log"; die "apt-get install $* failed"; }
  rm -f "$log"
}

# enclosed COMMAND... : in the namespaces, or in those of another scheduler that it was started in. When this shell
# dies, all of it is killed.
enclosed() {
  [ -z "${CLUSTER_ENCLOSED:-}" ] || { "$@"; return; }
  # shellcheck disable=SC2016
  setpriv --pdeathsig KILL -- \
    unshare --mount --pid --mount-proc --net --uts --ipc --fork --kill-child -- bash -c '
      set -e; hostname localhost; ip link set lo up; export CLUSTER_ENCLOSED=1; exec "$@"' _ "$@"
}

# wait_for SECONDS WHAT COMMAND... : ask until it says yes
wait_for() {
  local end=$((SECONDS + $1)) what=$2 told; shift 2
  until told=$("$@" 2>&1); do
    [ $SECONDS -lt "$end" ] || { show_logs; die "$what is not ready yet: $told"; }
    sleep 0.1
  done
}

# show_logs : the last lines of each file in $LOGS
show_logs() {
  local log
  for log in $LOGS; do
    [ ! -s "$log" ] || { echo "--- $log"; tail -15 "$log"; } >&2
  done
}
