#!/bin/sh
# The libraries that Qt's window needs, and with "xvfb" a virtual display for the tests as well. As root on Debian or
# Ubuntu the missing ones are installed; otherwise the command that installs them is printed.
set -eu
needed="libegl1 libgl1 libopengl0 libgl1-mesa-dri libglx-mesa0 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4
    libxcb-keysyms1 libxcb-image0 libxcb-render-util0 libxcb-xinerama0 libdbus-1-3"
[ "${1:-}" = xvfb ] && needed="$needed xvfb xauth"

# Other systems than Debian's family bring or name these libraries in their own way.
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || exit 0

missing=""
for package in $needed; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    echo "Installing system libraries:$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # one word a package
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "The window needs system libraries that are missing here. Run this, then the same make command again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
