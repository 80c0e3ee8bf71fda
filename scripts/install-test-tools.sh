#!/bin/sh
# Install the programs that some tests need (Debian or Ubuntu, as root); elsewhere say so and go on.
set -eu
wanted=""
command -v strace >/dev/null 2>&1 || wanted="$wanted strace"
command -v unshare >/dev/null 2>&1 || wanted="$wanted util-linux"
command -v faketime >/dev/null 2>&1 || wanted="$wanted faketime"
command -v chromium >/dev/null 2>&1 || wanted="$wanted chromium"
[ -n "$wanted" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "install-test-tools: not root, or no apt-get: tests that need$wanted will be skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086
    apt-get -qq -o DPkg::Lock::Timeout=300 -y --no-install-recommends install $wanted >/dev/null
}
install 2>/dev/null || { apt-get -qq update && install; }
