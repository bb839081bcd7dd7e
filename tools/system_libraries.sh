#!/bin/sh
# The libraries that Qt's window needs, and with "xvfb" a virtual display for the tests as well. As root on Debian or
# Ubuntu the missing ones are installed; otherwise the command that installs them is printed. With "xvfb", root gets
# Chromium too, in which one test opens a report; without it (Ubuntu has it as a snap only) that test is skipped.
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

browser=""
if [ "${1:-}" = xvfb ] && [ "$(id -u)" = 0 ] && ! command -v chromium >/dev/null; then
    browser=chromium
fi
[ -n "$missing" ] || { [ -n "$browser" ] && apt-cache show "$browser" >/dev/null 2>&1; } || exit 0

if [ "$(id -u)" = 0 ]; then
    echo "Installing system libraries:$missing $browser"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086  # one word a package
    [ -z "$missing" ] || apt-get install -y -qq --no-install-recommends $missing >/dev/null
    [ -z "$browser" ] || apt-get install -y -qq --no-install-recommends "$browser" >/dev/null 2>&1 ||
        echo "No package $browser: the test that opens a report in a browser is skipped."
else
    echo "The window needs system libraries that are missing here. Run this, then the same make command again:" >&2
    echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends$missing" >&2
    exit 1
fi
