package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	payloadBytes = 64
	batch        = 64 // packets a system call, unpaced
	pacedBatch   = 16
)

// blaster sends small UDP packets from one namespace as fast as one CPU can, or
// at a rate. Every socket is a flow of its own.
type blaster struct {
	from *space
	fds  []int
	msgs []mmsghdr
	iov  unix.Iovec
	data [payloadBytes]byte
}

// mmsghdr is struct mmsghdr of sendmmsg(2); Go pads it as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// newBlaster opens flows to one destination. close must be called.
func newBlaster(from *space, to netip.AddrPort, flows int) (*blaster, error) {
	b := &blaster{from: from, msgs: make([]mmsghdr, batch)}
	err := from.inside(func() error {
		for range flows {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open socket: %w", err)
			}
			b.fds = append(b.fds, fd)
			if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}); err != nil {
				return fmt.Errorf("connect to %s: %w", to, err)
			}
		}
		return nil
	})
	if err != nil {
		b.close()
		return nil, err
	}
	b.iov = unix.Iovec{Base: &b.data[0]}
	b.iov.SetLen(payloadBytes)
	for i := range b.msgs {
		b.msgs[i].hdr.Iov = &b.iov
		b.msgs[i].hdr.SetIovlen(1)
	}
	return b, nil
}

func (b *blaster) close() {
	for _, fd := range b.fds {
		_ = unix.Close(fd)
	}
}

// spent is what sending took: by the clock, of the sender's CPU, and waiting
// for that CPU.
type spent struct{ wall, cpu, waited time.Duration }

// run sends for a time, at pps packets per second or, if that is 0, as fast as
// it goes.
func (b *blaster) run(ctx context.Context, d time.Duration, pps float64) (spent, error) {
	return onLastCPU(b.from, func(start time.Time) error { return b.send(ctx, start, d, pps) })
}

// onLastCPU runs f in a namespace, on one CPU, as softirq work stays where the
// packet is sent.
func onLastCPU(in *space, f func(start time.Time) error) (spent, error) {
	var took spent
	err := in.inside(func() error { // on a thread that ends, and with it the affinity
		if err := pinLast(); err != nil {
			return err
		}
		start, used, waited := time.Now(), threadCPU(), threadWaited()
		err := f(start)
		took = spent{time.Since(start), threadCPU() - used, threadWaited() - waited}
		return err
	})
	return took, err
}

// threadCPU is the CPU time of the calling thread. On kernels that do not
// account interrupts apart (CONFIG_IRQ_TIME_ACCOUNTING) it includes the way of
// the packets that were sent, and excludes what others took of the CPU.
func threadCPU() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// threadWaited is how long the calling thread could have run and did not: the
// second number of schedstat.
func threadWaited() time.Duration {
	b, err := os.ReadFile("/proc/thread-self/schedstat")
	fields := strings.Fields(string(b))
	if err != nil || len(fields) < 2 {
		return 0
	}
	ns, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}

func (b *blaster) send(ctx context.Context, start time.Time, d time.Duration, pps float64) error {
	sent, turn := 0, 0
	for {
		elapsed := time.Since(start)
		if elapsed >= d && sent > 0 { // something is sent however short the time
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		n := batch
		if pps > 0 {
			n = min(pacedBatch, int(elapsed.Seconds()*pps)-sent)
			if n <= 0 {
				ts := unix.NsecToTimespec(20_000)
				_ = unix.Nanosleep(&ts, nil)
				continue
			}
		}
		done, err := b.sendBatch(b.fds[turn%len(b.fds)], n)
		if err != nil {
			return err
		}
		sent += done
		turn++
	}
}

func (b *blaster) sendBatch(fd, n int) (int, error) {
	// Raw: the scheduler need not know of a call that does not wait.
	done, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.msgs[0])), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == 0:
		return int(done), nil
	case errors.Is(errno, unix.EAGAIN), errors.Is(errno, unix.EINTR), errors.Is(errno, unix.ENOBUFS):
		return 0, nil
	}
	return 0, fmt.Errorf("send: %w", errno)
}

// pinLast binds this thread to the last CPU it may run on.
func pinLast() error {
	var allowed, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	for cpu := 1023; cpu >= 0; cpu-- {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("set affinity: %w", err)
	}
	return nil
}
