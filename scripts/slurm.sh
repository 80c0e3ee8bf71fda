#!/bin/bash
# slurm.sh - a real Slurm for tests (Debian's or Ubuntu's packages): root, no systemd, no cgroups, loopback only.
#
#   slurm.sh supported           exit 0 if this machine can run it, else say why and exit 1
#   slurm.sh install             install the packages; nothing if they are there
#   slurm.sh run CMD [ARG...]    start it (about 10 s), run CMD in the current directory, stop it; exit status =
#                                that of CMD (125 = it did not start). CMD may be bash, to try things by hand.
#
# Two nodes, n1 and n2, with 8 CPUs each, that the machine need not have. Each has a host name, process ids, IPC and
# /dev/shm of its own, so that tasks on both differ in what differs on a real cluster. Accounting is kept in MariaDB:
# without it sacct says nothing. An array's index goes up to 10 (MaxArraySize), so that small arrays are too large.
NAME=slurm
. "$(dirname "$0")/cluster_common.sh"
STATE=/run/cropfit-slurm            # in memory: /run is mounted anew in the namespace
LOGS="$STATE/log/*"
PACKAGES="slurm-wlm slurmdbd mariadb-server munge iproute2 procps"
NODES=2
export SLURM_CONF=$STATE/slurm.conf

do_install() {
  local why missing
  why=$(unsupported); [ -z "$why" ] || die "$why"
  # shellcheck disable=SC2086
  missing=$(missing $PACKAGES)
  # shellcheck disable=SC2086
  [ -z "$missing" ] || install_packages $missing
}

write_configuration() {
  cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A task that is put back waits cred_expire + 1 s; the default is 120 s, the least 5 s.
AuthInfo=cred_expire=5
StateSaveLocation=$STATE/state
SlurmdSpoolDir=$STATE/spool/%n
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/spool/%n.pid
SlurmctldLogFile=$STATE/log/slurmctld.log
SlurmdLogFile=$STATE/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=64
# Believe the nodes' CPUs and memory below, whatever the machine has.
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_continue
PriorityType=priority/basic
ReturnToService=2
JobRequeue=1
KillWait=5
SlurmdTimeout=120
MessageTimeout=60
MinJobAge=300
MaxArraySize=11
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
NodeName=n[1-$NODES] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[26901-2690$NODES] CPUs=8 RealMemory=8192
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10 LLN=YES
CONF
  cat >"$STATE/slurmdbd.conf" <<CONF
AuthType=auth/munge
DbdHost=localhost
DbdAddr=127.0.0.1
SlurmUser=root
PidFile=$STATE/slurmdbd.pid
LogFile=$STATE/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
CONF
  chmod 600 "$STATE/slurmdbd.conf"          # slurmdbd refuses one that others can read
  : >"$STATE/cgroup.conf"          # slurmd looks for it in any case
}

start_munge() {
  install -d -m 700 -o munge -g munge "$STATE/munge"
  install -d -m 755 -o munge -g munge /run/munge
  dd if=/dev/urandom of="$STATE/munge/key" bs=128 count=1 status=none
  chown munge:munge "$STATE/munge/key"; chmod 400 "$STATE/munge/key"
  setpriv --reuid munge --regid munge --init-groups munged --force --key-file="$STATE/munge/key" \
    --pid-file="$STATE/munge/pid" --seed-file="$STATE/munge/seed" --log-file="$STATE/munge/log" </dev/null >"$STATE/log/munged" 2>&1 || { show_logs; die "munged did not start"; }
}

sql() { mariadb --no-defaults -uroot -S "$STATE/mysql.socket" -e "$1"; }
start_database() {
  install -d -m 700 -o mysql -g mysql "$STATE/mysql"
  mariadb-install-db --no-defaults --user=mysql --datadir="$STATE/mysql" --skip-test-db \
    --auth-root-authentication-method=socket >"$STATE/log/mysql-install" 2>&1 || { show_logs; die "no database"; }
  setsid mariadbd --no-defaults --user=mysql --datadir="$STATE/mysql" --socket="$STATE/mysql.socket" \
    --pid-file="$STATE/mysql/pid" --skip-networking --innodb-use-native-aio=0 --innodb-buffer-pool-size=32M \
    --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 --performance-schema=0 \
    </dev/null >"$STATE/log/mysql" 2>&1 &
  wait_for 120 MariaDB sql 'select 1'
  sql 'create database slurm'
  # The client library is told of the socket by a variable.
  MYSQL_UNIX_PORT=$STATE/mysql.socket slurmdbd </dev/null >"$STATE/log/slurmdbd.out" 2>&1 ||
    { show_logs; die "slurmdbd did not start"; }
  wait_for 120 slurmdbd sacctmgr -n -i show cluster
  sacctmgr -i -Q add cluster test >/dev/null 2>&1 || die "slurmdbd takes no cluster"
}

# The first process of a node is a shell: it reaps what tasks leave behind.
start_node() {
  # shellcheck disable=SC2016
  setsid unshare --uts --ipc --pid --mount-proc --fork --kill-child -- bash -c '
    hostname "$1"; mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    slurmd -D -N "$1" & slurmd=$!
    while kill -0 $slurmd 2>/dev/null; do wait $slurmd; done
  ' _ "$1" </dev/null >"$STATE/log/$1" 2>&1 &
}
nodes_are_up() { [ "$(sinfo -h -N -o %T | grep -c -x idle)" = $NODES ]; }

start() {
  local node
  mount -t tmpfs -o mode=755 tmpfs /run
  umask 022
  mkdir -p "$STATE"/{log,state,spool}
  chmod 1777 "$STATE"          # for MariaDB's socket
  # Names are resolved only where there is another address than 127.0.0.1.
  ip address add 192.0.2.1/32 dev lo
  { cat /etc/hosts; for node in $(seq $NODES); do echo "127.0.0.1 n$node"; done; echo 127.0.0.1 localhost; } >"$STATE/hosts"
  mount --bind "$STATE/hosts" /etc/hosts
  write_configuration
  start_munge
  start_database
  slurmctld </dev/null >"$STATE/log/slurmctld.out" 2>&1 || { show_logs; die "slurmctld did not start"; }
  wait_for 120 slurmctld scontrol ping
  for node in $(seq $NODES); do start_node "n$node"; done
  wait_for 120 "one of the nodes" nodes_are_up
  say "$(slurmctld -V) is up after $SECONDS s"
}

case ${1:-} in
  supported) why=$(unsupported "$(command -v slurmctld)"); [ -z "$why" ] || { echo "$why"; exit 1; } ;;
  install) do_install ;;
  run) shift; [ $# -gt 0 ] || die "run what?"; do_install; enclosed "$0" inside "$@" ;;
  inside) shift; start; code=0; "$@" || code=$?; exit $code ;;
  *) echo "usage: slurm.sh supported | install | run CMD [ARG...]" >&2; exit 2 ;;
esac
