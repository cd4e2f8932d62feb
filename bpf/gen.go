// Package bpf holds the kernel programs (C in kernel/ and include/), compiled,
// and the Go types that bpf2go derives from them. It has no logic: package
// probe loads and attaches the programs.
//
// One little-endian object serves amd64 and arm64, because the programs read
// the kernel only through relocated (CO-RE) offsets and use no registers of a
// particular machine.
package bpf

// Regenerating needs clang, llvm-strip and the libbpf headers (libbpf-dev).
//
//go:generate go tool bpf2go -target bpfel -go-package bpf -type kind -type tunnel -type event_flag -type side -type stat -type event -type drop_event -type tuple -type addr Trace kernel/podpath.bpf.c -- -O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-sign-compare
