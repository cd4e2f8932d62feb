#!/bin/sh
# fuzz.sh GO PACKAGE TARGET TIME: one fuzz target. Go's fuzzer now and then takes the
# end of its own time for a failure, without an input that failed. Such a run says
# nothing about the target: it is repeated, once, and that is said.
set -u
go=$1 pkg=$2 target=$3 time=$4
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT

run() {
	{ "$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 10x "$pkg"; echo "status $?"; } 2>&1 | tee "$log" | grep -v '^status '
	[ "$(tail -n 1 "$log")" = "status 0" ]
}

only_the_time() {
	grep -q '^ *context deadline exceeded$' "$log" && ! grep -q 'Failing input written' "$log"
}

run && exit 0
if only_the_time; then
	echo "$target: the time ended, no input failed: once more"
	run && exit 0
fi
echo "$target in $pkg failed; what did it is in $pkg/testdata/fuzz/$target"
exit 1
