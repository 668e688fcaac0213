#!/bin/sh
# Unpacks CPython from the packages of Debian's releases into build/debian-pythons/3.MINOR, with every library that it
# needs: the C library of that release, too. So it runs on an older Debian, nothing is installed, and no root is needed.
# With --arm64 it is one for that processor, in build/debian-pythons-arm64, with the emulator that runs it.
#
#     unpack_python.sh [--arm64] 3.MINOR...
set -eu
cd "$(dirname "$0")/.."
folder=$PWD/build/debian-pythons
native=$(dpkg --print-architecture)
architecture=$native
if [ "${1:-}" = --arm64 ]; then
  shift
  architecture=arm64
  folder=$folder-arm64
fi
emulator=
[ "$architecture" = "$native" ] || emulator=$folder/usr/bin/qemu-aarch64
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
releases="oldstable stable testing unstable"
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
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; "$native"; };
APT::Sandbox::User "root";
Acquire::Languages "none";
END
  export APT_CONFIG="$folder/apt/apt.conf"
  apt-get -qq update
}

# Debian's is one program without libraries.
unpack_emulator() {
  (cd "$folder/apt/cache" && apt-get -qq download "qemu-user:$native") || return 1
  dpkg -x "$folder"/apt/cache/qemu-user_*.deb "$folder"
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
  loader=$(find "$root" -name 'ld-linux-*.so.*' -path '*-linux-gnu/*' | head -n 1)
  multiarch=$(basename "$(dirname "$loader")")
  # The program names the C library and the folders of libraries by their places here.
  patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$root/usr/lib/$multiarch:$root/lib/$multiarch" \
    "$root/usr/bin/python$1"
  # The header that chooses one for each processor looks for it below /usr/include.
  cp "$root/usr/include/$multiarch/python$1/pyconfig.h" "$root/usr/include/python$1/pyconfig.h"
  $emulator "$root/usr/bin/python$1" -c "import ctypes, ssl, zlib" && touch "$root/complete"
}

for minor; do
  [ ! -e "$folder/$minor/complete" ] || continue
  [ -n "${APT_CONFIG:-}" ] || use_newer_releases || { echo "there is no Debian release to unpack Python from" >&2; exit 1; }
  [ -z "$emulator" ] || [ -e "$emulator" ] || unpack_emulator || { echo "Debian's releases have no qemu-user" >&2; exit 1; }
  unpack "$minor" || { rm -rf "${folder:?}/$minor"; echo "Debian's releases have no Python $minor" >&2; exit 1; }
done
