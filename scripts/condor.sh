#!/bin/bash
# condor.sh - a real HTCondor for tests: root, no systemd, loopback only.
#
#   condor.sh supported           exit 0 if this machine can run it, else say why and exit 1
#   condor.sh install             make its tree (30 to 100 s, about 310 MB); nothing if it is there
#   condor.sh run CMD [ARG...]    start it (about 5 s), run CMD in the current directory, stop it; exit status =
#                                 that of CMD (125 = it did not start). CMD may be bash, to try things by hand.
#
# Debian 12 and Ubuntu have no HTCondor, Debian 13 has: its daemons run in a Debian 13 tree, over which all folders are
# bound that are not the system's own, so that paths mean the same. A virtual environment whose interpreter belongs to
# the system (/usr/bin) does not work in there. HTCondor runs no jobs of root: in a user namespace the caller's root
# is user 1000, and files stay root's outside.
# Settings: CONDOR_DIR (default ${TMPDIR:-/tmp}/cropfit-condor-UID), where the tree is kept
NAME=condor
. "$(dirname "$0")/cluster_common.sh"
BASE=${CONDOR_DIR:-${TMPDIR:-/tmp}/cropfit-condor-$(id -u)}
ROOT=$BASE/root
STATE=$BASE/state            # in memory
LOGS="$STATE/log/*"
SYSTEM="/bin /boot /dev /etc /lib /lib32 /lib64 /libx32 /lost+found /proc /run /sbin /sys /usr /var"
CONFIGURATION=$STATE/condor_config

do_install() {
  local why missing log
  why=$(unsupported); [ -z "$why" ] || die "$why"
  [ ! -e "$ROOT/.complete" ] || return 0
  missing=$(missing mmdebstrap iproute2 procps)
  # shellcheck disable=SC2086
  [ -z "$missing" ] || install_packages $missing
  say "making a Debian tree with condor in $ROOT"
  mkdir -p "$BASE"; log=$BASE/mmdebstrap.log
  rm -rf --one-file-system "$ROOT"
  # libffi8 and so on: what a Python that was built on this machine needs of the distribution.
  timeout 560 mmdebstrap --mode=root --variant=apt --aptopt='APT::Install-Recommends false' \
    --aptopt='Acquire::Check-Valid-Until "false"' --include=condor,python3,libffi8,libsqlite3-0,libbz2-1.0,liblzma5 \
    --include=libreadline8t64,libncursesw6,libgomp1,libgfortran5,libssl3t64 \
    trixie "$ROOT" http://deb.debian.org/debian >"$log" 2>&1 || { tail -20 "$log" >&2; die "mmdebstrap failed"; }
  echo "tests:x:1000:1000:tests:/tmp:/bin/bash" >>"$ROOT/etc/passwd"
  echo "tests:x:1000:" >>"$ROOT/etc/group"
  touch "$ROOT/.complete"
}

# in_tree COMMAND... : in the tree, as user 1000, in the current directory
in_tree() {
  # shellcheck disable=SC2016
  unshare --user --map-user=1000 --map-group=1000 --root="$ROOT" -- /bin/sh -c 'cd "$0" || cd /; exec "$@"' "$PWD" "$@"
}

write_configuration() {
  cat >"$CONFIGURATION" <<CONF
RELEASE_DIR = /usr
LIB = /usr/lib/condor
LIBEXEC = /usr/libexec/condor
BIN = /usr/bin
SBIN = /usr/sbin
SHARE = /usr/share/condor
LOCAL_DIR = $STATE
LOCAL_CONFIG_FILE =
LOCAL_CONFIG_DIR =
REQUIRE_LOCAL_CONFIG_FILE = False
LOG = $STATE/log
SPOOL = $STATE/spool
EXECUTE = $STATE/execute
LOCK = $STATE/lock
RUN = $STATE
CONDOR_HOST = 127.0.0.1
NETWORK_INTERFACE = 127.0.0.1
BIND_ALL_INTERFACES = False
NETWORK_HOSTNAME = localhost
ENABLE_IPV6 = False
NO_DNS = True
DEFAULT_DOMAIN_NAME = localdomain
UID_DOMAIN = localdomain
FILESYSTEM_DOMAIN = localdomain
DAEMON_LIST = MASTER COLLECTOR NEGOTIATOR SCHEDD STARTD
USE_SHARED_PORT = False
SEC_DEFAULT_AUTHENTICATION = OPTIONAL
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_CLIENT_AUTHENTICATION_METHODS = FS, CLAIMTOBE
SEC_DEFAULT_ENCRYPTION = OPTIONAL
SEC_DEFAULT_INTEGRITY = OPTIONAL
ALLOW_ADMINISTRATOR = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_READ = *
ALLOW_WRITE = *
NUM_CPUS = 16
MEMORY = 16384
SLOT_TYPE_1 = 100%
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1_PARTITIONABLE = True
CLAIM_PARTITIONABLE_LEFTOVERS = True
JOB_DEFAULT_REQUESTMEMORY = 64
JOB_DEFAULT_REQUESTDISK = 1024
START = True
SUSPEND = False
PREEMPT = False
KILL = False
RUNBENCHMARKS = False
BASE_CGROUP =
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
JOB_START_DELAY = 0
UPDATE_INTERVAL = 5
PERIODIC_EXPR_INTERVAL = 3
STARTER_UPDATE_INTERVAL = 5
SHADOW_QUEUE_UPDATE_INTERVAL = 5
MaxJobRetirementTime = 0
MACHINE_MAX_VACATE_TIME = 10
CONDOR_FSYNC = False
ENABLE_USERLOG_FSYNC = False
DISCARD_SESSION_KEYRING_ON_STARTUP = False
CONF
}

# A command of the tree for each of HTCondor's; by its full path, or it would find itself again in there.
write_commands() {
  local command
  mkdir "$STATE/bin"
  for command in "$ROOT"/usr/bin/condor_*; do
    cat >"$STATE/bin/${command##*/}" <<COMMAND
#!/bin/sh
exec unshare --user --map-user=1000 --map-group=1000 --root="$ROOT" -- \\
  /bin/sh -c 'cd "\$0" || cd /; exec "\$@"' "\$PWD" "${command#"$ROOT"}" "\$@"
COMMAND
    chmod 755 "$STATE/bin/${command##*/}"
  done
}
slot_is_up() { [ -n "$(timeout 20 condor_status -af Name)" ] && timeout 20 condor_q; }

start() {
  local place
  mkdir -p "$STATE"; mount -t tmpfs -o mode=755 tmpfs "$STATE"
  mkdir -p "$STATE"/{log,spool,execute,lock}; chmod 1777 "$STATE/execute"
  mount -t proc proc "$ROOT/proc"; mount --rbind /sys "$ROOT/sys"; mount --rbind /dev "$ROOT/dev"
  for place in /* /usr/local /var/tmp; do
    case " $SYSTEM " in *" $place "*) continue ;; esac
    [ ! -d "$place" ] || { mkdir -p "$ROOT$place"; mount --rbind "$place" "$ROOT$place"; }
  done
  cp /etc/hosts "$ROOT/etc/hosts"
  write_configuration
  write_commands
  export CONDOR_CONFIG=$CONFIGURATION
  in_tree /usr/sbin/condor_master -pidfile "$STATE/master.pid" </dev/null >"$STATE/log/master.out" 2>&1 ||
    { show_logs; die "condor_master did not start"; }
  export PATH=$STATE/bin:$PATH
  wait_for 120 HTCondor slot_is_up
  say "$(condor_version | head -1) is up after $SECONDS s"
}

case ${1:-} in
  supported) why=$(unsupported "$([ ! -e "$ROOT/.complete" ] || echo yes)"); [ -z "$why" ] || { echo "$why"; exit 1; } ;;
  install) do_install ;;
  run) shift; [ $# -gt 0 ] || die "run what?"; do_install; enclosed "$0" inside "$@" ;;
  inside) shift; start; code=0; "$@" || code=$?; exit $code ;;
  *) echo "usage: condor.sh supported | install | run CMD [ARG...]" >&2; exit 2 ;;
esac
