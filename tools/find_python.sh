#!/bin/sh
# Print the first Python ≥ 3.11 that can make virtual environments; PYTHON=… names one instead.
set -u
found=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    found=$candidate
    if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
        command -v "$candidate"
        exit 0
    fi
done
if [ -z "$found" ]; then
    echo "No Python 3.11 or newer was found; install one, or name it: make PYTHON=/path/to/python3 …" >&2
    exit 1
fi

version=$("$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing python$version-venv" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "python$version-venv"; } >/dev/null &&
        "$found" -c 'import ensurepip, venv' && command -v "$found" && exit 0
fi
echo "$found cannot make virtual environments. On Debian and Ubuntu run:" >&2
echo "    sudo apt-get install -y python$version-venv" >&2
exit 1
