#!/bin/sh
# Unpacks rsyslog and syslog-ng from Debian's packages into build/peers, each beside the libraries that this machine
# lacks. Nothing is installed and no daemon is touched. Packages that are installed already are not unpacked.
set -eu
cd "$(dirname "$0")/../.."
for package in rsyslog syslog-ng-core; do
  root=build/peers/$package
  [ ! -e "$root/complete" ] || continue
  rm -rf "$root"
  mkdir -p "$root/packages"
  # The packages that an installation would add: this one, and the dependencies that are missing.
  if ! plan=$(apt-get -qq --simulate --no-install-recommends install "$package"); then
    echo "cannot find Debian's package $package; apt-get update may help" >&2
    echo "without it: python -m benchmarks.bench_peers --systems ceiling,fastlog,usual-python" >&2
    exit 1
  fi
  names=$(printf '%s\n' "$plan" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
  if [ -n "$names" ]; then
    # shellcheck disable=SC2086  # names, one a word
    (cd "$root/packages" && apt-get -qq download $names)
    for file in "$root"/packages/*.deb; do dpkg -x "$file" "$root"; done
  fi
  touch "$root/complete"
done
