# Finds the compilers that the SDKs' build commands need; what is missing is installed from PyPI, in a fixed
# version, into a cache folder of its own. Sourced by the SDKs' build commands.

tools_cache=${TIDEGATE_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/tidegate/tools}

say() { printf '%s: %s\n' "${0##*/sdk/}" "$*" >&2; }
die() { say "$@"; exit 1; }
# A tool is not there and cannot be had: another status than that of a policy that does not build.
unavailable() { say "$@"; exit 69; }

# Prints the folder that holds a package of PyPI, installing it there first: python_package ziglang 0.17.1
python_package() {
  local name=$1 version=$2 folder=$tools_cache/$1-$2 fresh
  if [ ! -d "$folder" ]; then
    say "installing $name $version into $tools_cache"
    mkdir -p "$tools_cache"
    fresh=$(mktemp -d "$tools_cache/.$name.XXXXXX")
    if ! python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$fresh" "$name==$version" \
      >"$fresh.log" 2>&1; then
      tail -n 5 "$fresh.log" >&2
      rm -rf "$fresh" "$fresh.log"
      return 1
    fi
    # Two builds at once: the first one in place wins.
    mv -T "$fresh" "$folder" 2>/dev/null || mv -n "$fresh" "$folder" 2>/dev/null || rm -rf "$fresh"
    rm -f "$fresh.log"
  fi
  echo "$folder"
}
