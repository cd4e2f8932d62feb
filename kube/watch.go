package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// WatchOptions tune Watch. The zero value is usable.
type WatchOptions struct {
	Logger *slog.Logger // nil: no log
	// SyncTimeout bounds the initial load; 0: the configuration's timeout, or
	// 30 s without one. The first contact has at most 5 s of it.
	SyncTimeout time.Duration
	// Debounce is the least time between two snapshots; 0: 200 ms.
	Debounce time.Duration
	// Heartbeat is how often the API server is asked for its version, to notice
	// a silent loss before the transport does (45 s); 0: 10 s.
	Heartbeat time.Duration
	// Seek is how often the API server is asked whether it has got policies of
	// another kind (custom resources) meanwhile; 0: a minute.
	Seek time.Duration
	// OnStatus is told when the connection is lost and when it is back. It must
	// not block.
	OnStatus func(Status)
	// OnCustom is told the kind of policies (custom resources) that the API server
	// has got since the first load, and that are followed now. It must not block.
	OnCustom func(kind string)
	// OnSlow is told once, if the first load takes long, which resources it
	// waits for.
	OnSlow func(missing []string)
}

func (o WatchOptions) withDefaults() WatchOptions {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SyncTimeout <= 0 {
		o.SyncTimeout = 30 * time.Second
	}
	if o.Debounce <= 0 {
		o.Debounce = 200 * time.Millisecond
	}
	if o.Seek <= 0 {
		o.Seek = time.Minute
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 10 * time.Second
	}
	return o
}

// protobuf is a third of JSON's size and cost for the kinds that are watched.
const protobuf = "application/vnd.kubernetes.protobuf"

// Watch follows the cluster through its API server until the context ends. It
// returns once everything is loaded that may be read; see Store.Refused for what
// may not. Errors are of type *UnreachableError,
// *AccessError or *SyncError, or the context's.
//
// If the API server goes away later, the Store keeps what it knows; see
// Store.Status. config is not changed.
func Watch(ctx context.Context, config *rest.Config, opt WatchOptions) (*Store, error) {
	config = rest.CopyConfig(config)
	if opt.SyncTimeout <= 0 {
		opt.SyncTimeout = config.Timeout
	}
	config.Timeout = 0 // it would end every watch
	opt = opt.withDefaults()
	if config.UserAgent == "" {
		config.UserAgent = "podpath"
	}
	config.ContentType, config.AcceptContentTypes = protobuf, protobuf+",application/json"
	// The loads start together; the default of 5 requests a second would make
	// them queue.
	config.QPS, config.Burst = 50, 100
	var wire witness
	config.Wrap(wire.watch)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make the API client for %s: %w", config.Host, err)
	}
	meta, err := metadata.NewForConfig(metadata.ConfigFor(config))
	if err != nil {
		return nil, fmt.Errorf("make the metadata client for %s: %w", config.Host, err)
	}
	if err := contact(ctx, client, min(5*time.Second, opt.SyncTimeout)); err != nil {
		var status apierrors.APIStatus
		if errors.As(err, &status) {
			return nil, &AccessError{Verb: "get", Resource: "/version", Err: err}
		}
		if last := wire.err(); last != nil && errors.Is(err, context.DeadlineExceeded) {
			err = last // client-go tried again and again, and says only that it took too long
		}
		return nil, &UnreachableError{Host: config.Host, Err: err}
	}
	// Custom resources know no protobuf.
	config.ContentType, config.AcceptContentTypes = "", ""
	customs, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make the client for custom resources for %s: %w", config.Host, err)
	}
	return watch(ctx, clients{client, meta, customs}, config.Host, opt)
}

// clients speak to one API server. Without metadata ReplicaSets are not read, and
// without custom no custom resources.
type clients struct {
	core     kubernetes.Interface
	metadata metadata.Interface
	custom   dynamic.Interface
}

// contact asks for the server's version. That it is forbidden is an answer too.
func contact(ctx context.Context, client kubernetes.Interface, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := serverVersion(ctx, client)
		done <- err
	}()
	select {
	case err := <-done:
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return nil
		}
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %v: %w", timeout, ctx.Err())
	}
}

// watch is Watch with given clients.
func watch(ctx context.Context, by clients, host string, opt WatchOptions) (*Store, error) {
	opt = opt.withDefaults()
	st := newStore(newSnapshot(nil, time.Now()), opt.Debounce)
	st.link = newLink(time.Now(), opt.OnStatus)
	st.events = listEvents(by.core)
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, clientLogger(opt.Logger)))
	f := &feed{store: st, log: opt.Logger, shared: newShared(), onCustom: opt.OnCustom}
	for _, r := range resources(by.core, by.metadata) {
		f.start(ctx, r, by.core)
	}
	seek := newSeeker(f, by)
	seek.ask(ctx, min(5*time.Second, opt.SyncTimeout))
	if err := f.sync(ctx, seek, host, opt); err != nil {
		cancel()
		return nil, err
	}
	f.refused()
	st.flush()
	f.loaded.Store(true)
	opt.Logger.Info("cluster state is loaded", "objects", st.Current().Counts())
	go func() {
		defer cancel()
		st.run(ctx)
	}()
	go heartbeat(ctx, by.core, st.link, opt.Heartbeat)
	go seek.run(ctx, opt.Seek)
	return st, nil
}

// heartbeat asks for the version now and then; any answer at all counts.
func heartbeat(ctx context.Context, client kubernetes.Interface, l *link, every time.Duration) {
	const part = "API server"
	for sleep(ctx, every) {
		err := contact(ctx, client, min(every, 5*time.Second))
		var status apierrors.APIStatus
		switch {
		case ctx.Err() != nil:
			return
		case err == nil, errors.As(err, &status):
			l.ok(part, time.Now())
		default:
			l.fail(part, err)
		}
	}
}
