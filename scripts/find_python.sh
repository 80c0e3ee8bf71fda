#!/bin/sh
# Print the first interpreter that really is Python 3.10 or newer and can make virtual environments.
# Each candidate is run, not looked up: a version manager's shim may be on PATH and still refuse.
for candidate in python3 python3.13 python3.12 python3.11 python3.10 python; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' \
        >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    fi
done
echo "No Python 3.10 or newer with the venv module was found; name one: make PYTHON=/path/to/python3" >&2
exit 1
