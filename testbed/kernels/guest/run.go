package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/podpath/podpath/testbed/kernels/job"
)

const (
	// killGrace is how long a job's output may outlive the job.
	killGrace = 5 * time.Second
	// mostOutput of a job is sent: the line is slow.
	mostOutput = 8 << 20
)

func runAll() error {
	line, err := openLine()
	if err != nil {
		return err
	}
	answers := json.NewEncoder(line)
	if err := serve(answers); err != nil {
		return errors.Join(err, answers.Encode(job.Line{Failed: err.Error()}))
	}
	return answers.Encode(job.Line{Done: true})
}

func serve(answers *json.Encoder) error {
	ready, err := prepare()
	if err != nil {
		return err
	}
	if err := answers.Encode(job.Line{Ready: &ready}); err != nil {
		return err
	}
	data, err := os.ReadFile(job.ListFile)
	if err != nil {
		return fmt.Errorf("read jobs: %w", err)
	}
	var jobs []job.Job
	if err := json.Unmarshal(data, &jobs); err != nil {
		return fmt.Errorf("decode jobs: %w", err)
	}
	for _, j := range jobs {
		r := run(j, answers)
		if err := errors.Join(send(j.Keep, answers), answers.Encode(job.Line{Result: &r})); err != nil {
			return err
		}
	}
	return nil
}

// send answers the files of a folder.
func send(dir string, answers *json.Encoder) error {
	if dir == "" {
		return nil
	}
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && file == dir {
			return nil // there was nothing to keep
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		return answers.Encode(job.Line{File: &job.File{Name: name, Data: data}})
	})
}

// openLine makes the serial line carry bytes as they are.
func openLine() (*os.File, error) {
	f, err := os.OpenFile(os.Getenv(job.Answers), os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the line for answers: %w", err)
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("ask for the line's settings: %w", err)
	}
	t.Oflag &^= unix.OPOST
	t.Cflag = t.Cflag&^(unix.CBAUD|unix.CSIZE|unix.PARENB) | unix.B115200 | unix.CS8
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("set up the line for answers: %w", err)
	}
	return f, nil
}

func prepare() (job.Ready, error) {
	var ready job.Ready
	data, err := os.ReadFile(job.ModulesFile)
	if err != nil {
		return ready, fmt.Errorf("read list of modules: %w", err)
	}
	for _, file := range strings.Fields(string(data)) {
		if err := loadModule(file); err != nil {
			ready.Refused = append(ready.Refused, err.Error())
		}
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ready, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	ready.Release, ready.Version = unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:])
	if up, err := os.ReadFile("/proc/uptime"); err == nil {
		first, _, _ := strings.Cut(string(up), " ")
		ready.Uptime, _ = strconv.ParseFloat(first, 64)
	}
	return ready, linkUp("lo")
}

func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", file, err)
	}
	return nil
}

func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	return nil
}

func run(j job.Job, answers *json.Encoder) job.Result {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(j.Seconds)*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, j.Argv[0], j.Argv[1:]...)
	cmd.Env = append([]string{"HOME=/tmp", "TMPDIR=/tmp", "PATH=/usr/sbin:/usr/bin"}, j.Env...)
	cmd.Dir = j.Dir
	out := &output{answers: answers}
	cmd.Stdout, cmd.Stderr = out, out // the same, so that one goroutine writes
	cmd.WaitDelay = killGrace
	began := time.Now()
	err := errors.Join(cmd.Run(), out.err)
	r := job.Result{Name: j.Name, Exit: -1, TimedOut: ctx.Err() != nil, Seconds: time.Since(began).Seconds()}
	if cmd.ProcessState != nil {
		r.Exit = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// output sends what a job prints as it comes.
type output struct {
	answers *json.Encoder
	sent    int
	err     error
}

func (o *output) Write(b []byte) (int, error) {
	if o.sent < mostOutput && o.err == nil {
		o.sent += len(b)
		o.err = o.answers.Encode(job.Line{Output: b})
	}
	return len(b), nil
}
