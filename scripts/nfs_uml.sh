#!/bin/bash
# nfs_uml.sh - a real Linux NFS server and two real NFS clients, on a machine whose kernel need know no NFS.
#
# User-mode Linux (a Linux kernel that is an ordinary process; Debian's package user-mode-linux) has nfsd and
# the NFS client as modules. The guest has its own loopback only. Its root is a Debian 13 tree reached through
# hostfs, with /tmp, /root, /home, /opt, /srv, /mnt, /usr/local and the top-level folder of the current
# directory bound over it, so that paths mean the same inside. A virtual environment of this project works
# inside too: where its interpreter belongs to the system (/usr/bin), that is bound over the guest's own.
#
#   nfs_uml.sh supported          exit 0 if this machine can run it, else say why and exit 1
#   nfs_uml.sh install            make the tree (30 to 90 s, about 370 MB); nothing if it is there
#   nfs_uml.sh run CMD [ARG...]   boot (about 3 s), mount, run CMD in the current directory, halt;
#                                 exit status = that of CMD (125 = the guest did not come up)
#
# Inside:  $NFS_A and $NFS_B are two mounts of one export with separate caches: two "hosts";
#          $NFS_AS_A CMD and $NFS_AS_B CMD run CMD under the name and the network of each (node-a, node-b);
#          $NFS_EXPORT is the server's own directory.
# Settings: NFS_UML_DIR (default ${TMPDIR:-/tmp}/cropfit-nfs_uml-UID), NFS_UML_VERS (4.2; 3 and 4.x work),
#   NFS_UML_LEASES (1 = the server grants delegations; default 0: plain close-to-open, as most servers do),
#   NFS_UML_OPTS (more mount options, for example actimeo=30 or noac), NFS_UML_EXPORT (sync|async),
#   NFS_UML_MEM (768M), NFS_UML_TIMEOUT (seconds for CMD, default 300), NFS_UML_ENV (variables to pass on),
#   NFS_UML_PYTHON (default .venv/bin/python: the environment whose interpreter must work inside)
# The first concurrent rename after a boot may stall for a minute and more: warm up before timing anything.
set -euo pipefail
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin
BASE=${NFS_UML_DIR:-${TMPDIR:-/tmp}/cropfit-nfs_uml-$(id -u)}
ROOT=$BASE/root
BINDS="/tmp /var/tmp /root /home /opt /srv /mnt /usr/local /$(pwd | cut -d/ -f2)"
VERS=${NFS_UML_VERS:-4.2}
die() { echo "nfs_uml.sh: ERROR: $*" >&2; exit 125; }
say() { echo "nfs_uml.sh: $*"; }

unsupported() {
  [ "$(uname -sm)" = "Linux x86_64" ] || { echo "User-mode Linux needs Linux on x86_64"; return; }
  [ "$(id -u)" = 0 ] || { echo "it needs root"; return; }
  command -v apt-get >/dev/null || [ -e "$ROOT/.complete" ] || { echo "it needs Debian's or Ubuntu's apt-get"; return; }
  unshare --mount --pid --fork --net true 2>/dev/null || echo "new namespaces are not permitted here"
}

do_install() {
  local why apt="apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends"
  why=$(unsupported); [ -z "$why" ] || die "$why"
  [ ! -e "$ROOT/.complete" ] || return 0
  mkdir -p "$BASE/log"
  if ! command -v mmdebstrap >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    $apt install mmdebstrap >"$BASE/log/apt.log" 2>&1 ||
      { apt-get update >>"$BASE/log/apt.log" 2>&1; $apt install mmdebstrap >>"$BASE/log/apt.log" 2>&1; } ||
      { tail -20 "$BASE/log/apt.log" >&2; die "apt-get install mmdebstrap failed"; }
  fi
  say "making a Debian tree with user-mode-linux and nfs-kernel-server in $ROOT"
  rm -rf --one-file-system "$ROOT"
  # user-mode-linux comes from sid: 6.1 (Debian 12) and 6.12 (13) panic at the first process on CPUs with AMX
  # (put_fp_registers). Check-Valid-Until: a mirror's copy of sid may look expired.
  timeout 560 mmdebstrap --mode=root --variant=apt --aptopt='APT::Install-Recommends false' \
    --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Default-Release "trixie"' \
    --include=user-mode-linux/sid,nfs-kernel-server,nfs-common,rpcbind,kmod,mount,iproute2,procps,python3 \
    --include=libffi8,libsqlite3-0,libbz2-1.0,liblzma5,libreadline8t64,libncursesw6,libgomp1,libgfortran5,libssl3t64 \
    trixie "$ROOT" "deb http://deb.debian.org/debian trixie main" "deb http://deb.debian.org/debian sid main" \
    >"$BASE/log/mmdebstrap.log" 2>&1 || { tail -20 "$BASE/log/mmdebstrap.log" >&2; die "mmdebstrap failed"; }
  touch "$ROOT/.complete"
}

# Pairs "source target" that make the environment's interpreter and its standard library the guest's own.
python_binds() {
  local python=${NFS_UML_PYTHON:-.venv/bin/python} real lib name
  [ -x "$python" ] || return 0
  real=$(readlink -f "$python")
  case $real in /usr/bin/*) ;; *) return 0 ;; esac
  lib=$("$python" -c 'import os; print(os.path.dirname(os.__file__))')
  mkdir -p "$ROOT$lib"; [ -e "$ROOT$real" ] || touch "$ROOT$real"
  echo "$lib" "$ROOT$lib"
  # A virtual environment reaches its interpreter by the link it was made with: /usr/bin/python3, say.
  for name in "$real" /usr/bin/python3; do echo "$real" "$(readlink -f "$ROOT$name" 2>/dev/null || echo "$ROOT$name")"; done
}

write_command() {
  local v
  printf 'cd %q 2>/dev/null || cd /\n' "$PWD"
  for v in PATH HOME LANG PYTHONPATH VIRTUAL_ENV CI CROPFIT_REQUIRE_TOOLS ${NFS_UML_ENV:-}; do
    [ -z "${!v:-}" ] || printf 'export %s=%q\n' "$v" "${!v}"
  done
  cat <<'CMD'
export PATH=$PATH:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin NFS_A=/nfs/a NFS_B=/nfs/b NFS_EXPORT=/export
export NFS_AS_A='nsenter --net=/run/net.a --uts=/run/uts.a' NFS_AS_B='nsenter --net=/run/net.b --uts=/run/uts.b'
CMD
  printf '%q ' "$@"; echo
}

write_init() {
  local job=$1
  cat <<INIT
#!/bin/bash
# PID 1 of the guest
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
halt() { perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc)'; sleep 9; }          # reboot(2): power off
fail() { echo "guest: \$*"; echo 125 >$job/rc; halt; }
exec 2>&1
mount -t proc proc /proc && mount -t sysfs sys /sys || fail "proc"
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/lib/nfs; mount -t tmpfs tmpfs /dev/shm 2>/dev/null
mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery /run/rpcbind /run/sendsigs.omit.d; touch /var/lib/nfs/{etab,rmtab,xtab}
ip link set lo up; hostname nfsguest
for m in nfsd nfs nfsv3 nfsv4; do modprobe \$m || fail "modprobe \$m"; done
mount -t nfsd nfsd /proc/fs/nfsd || fail "nfsd fs"
mkdir -p /run/rpc_pipefs; mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs || fail rpc_pipefs
mount -t tmpfs -o mode=1777 tmpfs /export || fail "export fs"          # hostfs cannot be exported; tmpfs can
# One network and UTS namespace per client. Two mounts in one namespace would be one NFS client to the server
# (same client id, same lock owners, shared delegations) and see neither locks nor changes properly.
for k in a b; do
  case \$k in a) n=1;; b) n=2;; esac
  touch /run/net.\$k /run/uts.\$k
  unshare --net=/run/net.\$k --uts=/run/uts.\$k true || fail "namespaces"
  ip link add srv\$k type veth peer name eth0 || fail "veth"
  mkdir -p /run/netns; ln -s /run/net.\$k /run/netns/\$k; ip link set eth0 netns \$k || fail "netns"
  ip addr add 10.77.\$n.1/24 dev srv\$k; ip link set srv\$k up
  nsenter --net=/run/net.\$k --uts=/run/uts.\$k sh -c "hostname node-\$k; ip link set lo up; ip addr add 10.77.\$n.2/24 dev eth0; ip link set eth0 up" || fail "address"
done
rpcbind -w 2>/dev/null
for n in 1 2; do exportfs -o rw,fsid=0,${NFS_UML_EXPORT:-sync},no_subtree_check,no_root_squash,insecure 10.77.\$n.2:/export || fail exportfs; done
echo ${NFS_UML_LEASES:-0} >/proc/sys/fs/leases-enable
rpc.mountd || fail mountd
# Without nfsdcld, or with the default times, the first open of a version 4 client waits out 90 s of grace.
for x in nfsv4leasetime nfsv4gracetime; do echo 10 >/proc/fs/nfsd/\$x; done
mkdir -p /var/lib/nfs/nfsdcld; nfsdcld -p /run/rpc_pipefs -s /var/lib/nfs/nfsdcld || echo 'nfsdcld failed'; sleep 0.3
rpc.nfsd 4 || fail nfsd
echo Y 2>/dev/null >/proc/fs/nfsd/v4_end_grace
# Version 3 locks need statd and rpcbind per namespace: "nolock" instead, so locks are then local to a client.
dir=/; v3=; case "$VERS" in 3) dir=/export; v3=,nolock;; esac
for k in a b; do
  case \$k in a) n=1;; b) n=2;; esac
  # nsenter changes net and uts only: the mount itself appears for everybody.
  nsenter --net=/run/net.\$k --uts=/run/uts.\$k sh -c "echo node-\$k >/sys/fs/nfs/net/nfs_client/identifier 2>/dev/null; [ $VERS != 3 ] || { rpcbind; rpc.statd --no-notify; }; \
    mount -t nfs -o vers=$VERS,nosharecache,soft,timeo=50,retrans=3\$v3${NFS_UML_OPTS:+,$NFS_UML_OPTS} 10.77.\$n.1:\$dir /nfs/\$k" || fail "mount \$k"
done
touch $job/up
bash $job/cmd </dev/null >$job/out 2>&1; echo \$? >$job/rc
sync
halt
INIT
}

do_run() {
  [ -e "$ROOT/.complete" ] || die "not installed: run nfs_uml.sh install"
  [ $# -gt 0 ] || die "run what?"
  local job b v rc follower st=0
  mkdir -p "$BASE/log" "$BASE/jobs"
  job=$(mktemp -d "$BASE/jobs/XXXXXX")
  write_command "$@" >"$job/cmd"
  write_init "$job" >"$job/init"
  chmod 755 "$job/init"
  python_binds >"$job/binds"
  mkdir -p "$ROOT"/{nfs/a,nfs/b,export,var/lib/nfs,usr/lib/modules} "$ROOT$BASE"
  # modprobe looks in /lib/modules, the package puts them in /usr/lib/uml/modules
  for v in "$ROOT"/usr/lib/uml/modules/*; do v=$(basename "$v"); ln -sfn "/usr/lib/uml/modules/$v" "$ROOT/usr/lib/modules/$v"; done
  for b in $BINDS; do [ -d "$b" ] && mkdir -p "$ROOT$b"; done
  : >"$job/out"
  tail -n +1 -f "$job/out" & follower=$!
  # Own mount, pid and network namespace: nothing outlives this command, nothing is reachable.
  # shellcheck disable=SC2016,SC2086
  timeout -k 5 "$(( ${NFS_UML_TIMEOUT:-300} + 30 ))" unshare --mount --pid --fork --net --kill-child --propagation private -- sh -c '
    r=$1; base=$2; job=$3; mem=$4; shift 4
    while read -r from to; do mount --bind "$from" "$to" || exit 125; done <"$job/binds"
    mount -t proc proc "$r/proc" && mount --rbind /dev "$r/dev" || exit 125
    for b in "$@"; do [ -d "$b" ] && { mount --rbind "$b" "$r$b" || exit 125; }; done
    [ -e "$r$job/init" ] || mount --bind "$base" "$r$base" || exit 125
    # TMPDIR on tmpfs: the guest memory is a file there and must be mappable
    exec chroot "$r" env -i TMPDIR=/dev/shm PATH=/usr/bin:/bin HOME=/ linux.uml mem="$mem" root=/dev/root rootfstype=hostfs rootflags=/ rw \
      init="$job/init" con=null con0=null,fd:1 console=tty0 quiet
  ' _ "$ROOT" "$BASE" "$job" "${NFS_UML_MEM:-768M}" $BINDS </dev/null >"$job/console" 2>&1 &
  wait $! 2>/dev/null || st=$?                         # like this bash does not print "Killed ..." on a timeout
  sleep 0.2; kill "$follower" 2>/dev/null; wait "$follower" 2>/dev/null || :
  rc=$(cat "$job/rc" 2>/dev/null || echo 125)
  if [ -e "$job/up" ] && [ ! -e "$job/rc" ] && { [ $st = 124 ] || [ $st = 137 ]; }; then die "'$*' did not end within ${NFS_UML_TIMEOUT:-300} s"; fi
  if [ "$rc" = 125 ] || [ ! -e "$job/up" ]; then tail -25 "$job/console" >&2; die "the guest failed (see $job/console)"; fi
  rm -rf "$job"
  return "$rc"
}

case ${1:-} in
  supported) why=$(unsupported); [ -z "$why" ] || { echo "$why"; exit 1; } ;;
  install) do_install ;;
  run) shift; do_install; do_run "$@" ;;
  *) echo "usage: nfs_uml.sh supported | install | run CMD [ARG...]" >&2; exit 2 ;;
esac
