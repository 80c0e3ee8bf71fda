#!/bin/bash
# sge.sh - a real Grid Engine for tests (Debian's or Ubuntu's "Son of Grid Engine"): root, no systemd, loopback only.
#
#   sge.sh supported           exit 0 if this machine can run it, else say why and exit 1
#   sge.sh install             install the packages; nothing if they are there
#   sge.sh run CMD [ARG...]    start it (about 5 s), run CMD in the current directory, stop it; exit status =
#                              that of CMD (125 = it did not start). CMD may be bash, to try things by hand.
#
# One host, "localhost", with 16 slots. An array's task may be number 10 at most (max_aj_tasks), so that small arrays
# are too large. Inside slurm.sh it works too: slurm.sh run sge.sh run CMD has both.
NAME=sge
. "$(dirname "$0")/cluster_common.sh"
export SGE_ROOT=/var/lib/gridengine SGE_CELL=default
SPOOL=/var/spool/gridengine
STATE=$SPOOL/cropfit
LOGS="$SPOOL/qmaster/messages $SPOOL/execd/localhost/messages $STATE/*.log /tmp/sge_messages"
PACKAGES="gridengine-master gridengine-exec gridengine-client iproute2 procps"

do_install() {
  local why missing
  why=$(unsupported); [ -z "$why" ] || die "$why"
  # shellcheck disable=SC2086
  missing=$(missing $PACKAGES)
  [ -n "$missing" ] || return 0
  debconf-set-selections <<'SELECTIONS'
gridengine-common shared/gridengineconfig boolean true
gridengine-common shared/gridenginecell string default
gridengine-common shared/gridenginemaster string localhost
gridengine-master shared/gridengineconfig boolean true
gridengine-master shared/gridenginecell string default
gridengine-master shared/gridenginemaster string localhost
gridengine-client shared/gridenginemaster string localhost
gridengine-exec shared/gridenginemaster string localhost
SELECTIONS
  # shellcheck disable=SC2086
  install_packages $missing
}

# edit SHOW LOAD NAME [KEY VALUE]... : qconf prints a configuration, sed edits it, qconf reads it back.
edit() {
  local show=$1 load=$2 file=$STATE/$3; shift 3
  # shellcheck disable=SC2086
  qconf $show >"$file" || die "qconf $show failed"
  sed -i -e ':a' -e '/\\$/N; s/ *\\\n */ /; ta' "$file"           # join continued lines
  while [ $# -gt 0 ]; do
    sed -i "/^$1 /d" "$file"; echo "$1 $2" >>"$file"; shift 2
  done
  qconf "$load" "$file" >>"$STATE/qconf.log" 2>&1 || { show_logs; die "qconf $load failed"; }
}
# add OPTION LINE... : qconf OPTION with a file of these lines
add() {
  printf '%s\n' "${@:2}" >"$STATE/new"
  qconf "$1" "$STATE/new" >>"$STATE/qconf.log" 2>&1 || { show_logs; die "qconf $1 failed"; }
}
configure() {
  # root may submit; accounts are written at once; tasks are killed by their group id.
  edit -sconf -Mconf global min_uid 0 min_gid 0 load_report_time 00:00:02 max_aj_tasks 10 mailer /bin/true \
    execd_params ENABLE_ADDGRP_KILL=true reporting_params \
    "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:01 joblog=false sharelog=00:00:00"
  # Every second and after each submission, not every 15 s.
  edit -ssconf -Msconf scheduler schedule_interval 0:0:1 flush_submit_sec 1 flush_finish_sec 1 \
    job_load_adjustments NONE load_adjustment_decay_time 0:0:0
  for option in -ah -as; do qconf $option localhost >>"$STATE/qconf.log" 2>&1 || :; done          # known already?
  qconf -sel 2>/dev/null | grep -qx localhost ||
    add -Ae "hostname localhost" "load_scaling NONE" "complex_values NONE" "user_lists NONE" "xuser_lists NONE" \
      "projects NONE" "xprojects NONE" "usage_scaling NONE" "report_variables NONE"
  add -Ahgrp "group_name @tests" "hostlist localhost"
  add -Ap "pe_name smp" "slots 999" "user_lists NONE" "xuser_lists NONE" "start_proc_args NONE" "stop_proc_args NONE" \
    "allocation_rule \$pe_slots" "control_slaves FALSE" "job_is_first_task TRUE" "urgency_slots min" \
    "accounting_summary FALSE" "qsort_args NONE"
  # The template of queues, with SIGUSR2 5 s before SIGKILL for jobs that ask for it, and no threshold of load: a
  # busy machine would start nothing.
  edit -sq -Aq queue qname tests.q hostlist @tests slots 16 pe_list smp shell /bin/sh load_thresholds NONE \
    suspend_thresholds NONE notify 00:00:05 min_cpu_interval 00:00:01
}
queue_is_up() { qstat -f | awk '/^tests\.q@/ {up = ($6 == "")} END {exit !up}'; }          # the 6th tells troubles

start() {
  local place kept
  # What the packages made stays as it is: a copy in memory is used.
  for place in "$SGE_ROOT" "$SPOOL"; do
    kept=$(mktemp -d /dev/shm/sge.XXXXXX)
    mount -t tmpfs -o mode=755 tmpfs "$kept"
    cp -a "$place/." "$kept"; mount --move "$kept" "$place"; rmdir "$kept"
  done
  [ -r "$SGE_ROOT/$SGE_CELL/common/bootstrap" ] || die "the packages were configured without a cell"
  echo localhost >"$SGE_ROOT/$SGE_CELL/common/act_qmaster"
  mkdir -p "$STATE"
  mkdir -p /run/gridengine; chown sgeadmin: /run/gridengine
  install -d -o sgeadmin -g sgeadmin "$SPOOL/execd"
  [ "$(ulimit -n)" -le 4096 ] || ulimit -n 4096          # the daemons close all that may be open, one by one
  sge_qmaster </dev/null >"$STATE/qmaster.log" 2>&1 || { show_logs; die "sge_qmaster did not start"; }
  wait_for 120 sge_qmaster timeout 10 qconf -sh
  configure
  sge_execd </dev/null >"$STATE/execd.log" 2>&1 || { show_logs; die "sge_execd did not start"; }
  wait_for 120 "the queue" queue_is_up
  say "Grid Engine $(qstat -help | head -1) is up after $SECONDS s"
}

case ${1:-} in
  supported) why=$(unsupported "$(command -v sge_qmaster)"); [ -z "$why" ] || { echo "$why"; exit 1; } ;;
  install) do_install ;;
  run) shift; [ $# -gt 0 ] || die "run what?"; do_install; enclosed "$0" inside "$@" ;;
  inside) shift; start; code=0; "$@" || code=$?; exit $code ;;
  *) echo "usage: sge.sh supported | install | run CMD [ARG...]" >&2; exit 2 ;;
esac
