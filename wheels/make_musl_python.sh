#!/bin/sh
# Makes a CPython for musl, as Alpine has it, in build/musl-pythons/3.MINOR: from the source packages of Debian's
# releases, compiled by zig, and with the loader of Debian's package `musl`. Nothing is installed. Takes minutes.
#
#     make_musl_python.sh ZIG 3.MINOR      where ZIG is the command that runs zig
set -eu
cd "$(dirname "$0")/.."
zig=$1 minor=$2
folder=$PWD/build/musl-pythons
root=$folder/$minor
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() {
  echo "no Python $minor for musl: $1" >&2
  rm -rf "$root"
  exit 1
}

[ ! -e "$root/complete" ] || exit 0
[ "$(uname -m)" = x86_64 ] || fail "this machine is not an x86-64"
mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n '/^Debian /{s///;p;q;}')
[ -n "$mirror" ] || fail "apt knows no release of Debian"
rm -rf "$root"
mkdir -p "$root/lib" "$root/include" "$root/build" "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
: > "$folder/apt/status"
for release in oldstable stable; do
  printf '%s [signed-by=%s] %s %s main\n' deb $keyring "$mirror" $release deb-src $keyring "$mirror" $release
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
cd "$root/build"
apt-get -qq --download-only source "python$minor" zlib 2> /dev/null || fail "Debian's releases have not its source"
apt-get -qq download musl || fail "Debian's releases have no musl"
dpkg -x musl_*.deb "$root"
mkdir python zlib
tar -xf python"$minor"_*.orig.tar.?z -C python --strip-components 1
tar -xf zlib_*.orig.tar.?z -C zlib --strip-components 1

# What it compiles runs here: it names the loader by its place.
cat > cc << END
#!/bin/sh
exec $zig cc -target x86_64-linux-musl -dynamic -Wno-date-time -Wl,-rpath,$root/lib \\
  -Wl,--dynamic-linker=$root/usr/lib/ld-musl-x86_64.so.1 "\$@"
END
chmod +x cc
cp zlib/zlib.h zlib/zconf.h "$root/include"
./cc -shared -fPIC -O2 -w -DHAVE_UNISTD_H -DHAVE_STDARG_H -Wl,-soname,libz.so.1 zlib/*.c -o "$root/lib/libz.so.1"
ln -s libz.so.1 "$root/lib/libz.so"
cd python
# Its names of modules say that they are for musl. It would guess so from a header that zig has in place of musl's.
[ ! -e Misc/platform_triplet.c ] || sed -i 's/error unknown libc/define LIBC musl/' Misc/platform_triplet.c
{
  ./configure CC="$root/build/cc" CPPFLAGS="-I$root/include" LDFLAGS="-L$root/lib" OPT="-O1 -DNDEBUG" PKG_CONFIG=false \
    --build=x86_64-linux-musl --prefix="$root" --without-ensurepip --disable-test-modules && make -j "$(nproc)" && make install
} > ../log 2>&1 || { tail -n 20 ../log >&2; fail "it does not compile"; }
"$root/bin/python$minor" -c "import socket, zlib"
rm -rf "$root/build"
touch "$root/complete"
