#!/bin/sh
# Unpacks CPython from the packages of Debian's releases into build/debian-pythons/3.MINOR, with every library that it
# needs: the C library of that release, too. So it runs on an older Debian, nothing is installed, and no root is needed.
#
#     unpack_python.sh 3.MINOR...
set -eu
cd "$(dirname "$0")/.."
folder=$PWD/build/debian-pythons
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
releases="stable testing unstable"
# Packages for compiling against that C library, and configuration: nothing here uses them.
unused='^(libc6-dev|linux-libc-dev|libc-dev-bin|libexpat1-dev|debconf|libc-gconv-modules-extra)$'

# Apt's own lists stay as they are: these are of other releases.
use_newer_releases() {
  mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n '/^Debian /{s///;p;q;}')
  [ -n "$mirror" ] || return 1
  mkdir -p "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
  : > "$folder/apt/status"
  for release in $releases; do
    echo "deb [signed-by=$keyring] $mirror $release main"
  done > "$folder/apt/sources.list"
  cat > "$folder/apt/apt.conf" << END
Dir::State "$folder/apt";
Dir::State::lists "$folder/apt/lists";
Dir::State::status "$folder/apt/status";
Dir::Cache "$folder/apt/cache";
Dir::Etc::sourcelist "$folder/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
APT::Sandbox::User "root";
Acquire::Languages "none";
END
  export APT_CONFIG="$folder/apt/apt.conf"
  apt-get -qq update
}

unpack() {
  root=$folder/$1
  rm -rf "$root"
  mkdir -p "$root/packages"
  plan=$(apt-get -qq --simulate --no-install-recommends install "python$1" "libpython$1-dev" 2> /dev/null) || return 1
  names=$(printf '%s\n' "$plan" | sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep -vE "$unused")
  # shellcheck disable=SC2086  # names, one a word
  (cd "$root/packages" && apt-get -qq download $names) || return 1
  for file in "$root"/packages/*.deb; do dpkg -x "$file" "$root"; done
  rm -rf "$root/packages"
  multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2> /dev/null || echo "$(uname -m)-linux-gnu")
  # The program names the C library and the folder of libraries by their places here.
  loader=$(find "$root" -name 'ld-linux-*.so.*' | head -n 1)
  patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$root/usr/lib/$multiarch" "$root/usr/bin/python$1"
  # The header that chooses one for each processor looks for it below /usr/include.
  cp "$root/usr/include/$multiarch/python$1/pyconfig.h" "$root/usr/include/python$1/pyconfig.h"
  "$root/usr/bin/python$1" -c "import ctypes, ssl, zlib" && touch "$root/complete"
}

for minor; do
  [ ! -e "$folder/$minor/complete" ] || continue
  [ -n "${APT_CONFIG:-}" ] || use_newer_releases || { echo "there is no Debian release to unpack Python from" >&2; exit 1; }
  unpack "$minor" || { rm -rf "${folder:?}/$minor"; echo "Debian's releases have no Python $minor" >&2; exit 1; }
done
