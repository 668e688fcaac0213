#!/bin/sh
# Unpacks Debian's packages into build/debian, each with the packages that it needs and this machine lacks. Nothing is
# installed and no daemon is touched, so packages that conflict are there side by side. What is installed already is not
# unpacked.
#
#     unpack.sh PACKAGE...
set -eu
cd "$(dirname "$0")/../.."

unpack() {
  root=build/debian/$1
  rm -rf "$root"
  mkdir -p "$root/packages"
  # The packages that an installation would add: this one, and the dependencies that are missing.
  plan=$(apt-get -qq --simulate --no-install-recommends install "$1") || return 1
  names=$(printf '%s\n' "$plan" | sed -n 's/^Inst \([^ ]*\) .*/\1/p')
  if [ -n "$names" ]; then
    # shellcheck disable=SC2086  # names, one a word
    (cd "$root/packages" && apt-get -qq download $names) || return 1
    for file in "$root"/packages/*.deb; do dpkg -x "$file" "$root"; done
  fi
  touch "$root/complete"
}

for package; do
  [ ! -e "build/debian/$package/complete" ] || continue
  # The lists of packages may be missing or old.
  unpack "$package" 2> /dev/null || { apt-get -qq update && unpack "$package"; } || {
    echo "cannot unpack Debian's package $package" >&2
    exit 1
  }
done
