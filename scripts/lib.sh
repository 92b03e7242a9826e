# shellcheck shell=bash
# Shared by the scripts: where things are, progress, and the cache of costly artefacts.

set -euo pipefail
shopt -s inherit_errexit

SCRIPTS=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
PROJECT=${SCRIPTS%/*}
CACHE=${IPVS_IPSEC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ip_vs_ipsec}
export IPVS_IPSEC_CACHE=$CACHE
mkdir -p "$CACHE/lock" "$CACHE/log" "$CACHE/run"
CACHE=$(cd -- "$CACHE" && pwd -P)
# What killed runs left.
find "$CACHE/log" "$CACHE/run" -mindepth 1 -maxdepth 1 -mtime +0 -exec rm -rf --one-file-system {} +

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
	say "error: $*"
	exit 1
}

# The packages the host lacks; it needs no more than these two.
missing_packages() {
	command -v mmdebstrap >/dev/null || echo mmdebstrap
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
}

# Ends with what to type, if we are not root.
need_root() {
	local missing
	[ "$(id -u)" -ne 0 ] || return 0
	mapfile -t missing < <(missing_packages)
	[ ${#missing[@]} -eq 0 ] || say "packages are missing: sudo apt-get install ${missing[*]}"
	die "it mounts and changes root: run it as root, for example: sudo ${1:-make} ..."
}

# key WORD…: a short name for these inputs.
key() { printf '%s\0' "$@" | sha256sum | cut -c1-12; }

# step TEXT COMMAND…: runs it quietly; says how long it took, or shows the end of what it said. The trap, since
# "set -e" would be off within COMMAND if its status were asked for.
step() (
	text=$1 start=$SECONDS
	shift
	log=$(mktemp "$CACHE/log/${0##*/}.XXXXXX")
	say "$text ..."
	# COMMAND may be a function that ends the script: standard error is the log's then.
	exec 3>&2
	trap 'exec 2>&3; tail -n 40 "$log" >&2; die "$text: failed after $((SECONDS - start)) s; all it said is in $log"' EXIT
	"$@" >"$log" 2>&1 </dev/null
	trap - EXIT
	rm -f "$log"
	say "$text: $((SECONDS - start)) s"
)

# cached NAME COMMAND…: prints the path of the artefact NAME. When there is none yet, COMMAND makes it at the
# path it gets as its last argument; only what is whole is given its name. The lock is inherited by what COMMAND
# starts, so whoever gets it may take a .part that is there for the leftover of a run that was killed.
cached() {
	local path=$CACHE/$1 lock=$CACHE/lock/$1
	shift
	if [ ! -e "$path" ]; then
		(
			flock --nonblock 9 || { say "waiting for another run to finish $path" && flock 9; }
			[ ! -e "$path" ] || exit 0
			rm -rf --one-file-system "$path.part"
			"$@" "$path.part"
			mv --no-target-directory "$path.part" "$path"
		) 9>"$lock" >&2
	fi
	printf '%s\n' "$path"
}
