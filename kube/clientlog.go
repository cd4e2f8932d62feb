package kube

import (
	"context"
	"log/slog"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// LogClient hands the lines to log that client-go writes outside of any watch
// (slow lists, credential plugins); otherwise they would go to standard error.
// client-go has one such log for the whole process, and so this is for cmd to
// call.
func LogClient(log *slog.Logger) { klog.SetLogger(clientLogger(log)) }

// clientLogger takes client-go's lines for what they are to a person: detail.
// What it calls an error it tries again, and what comes of that is said once, by
// WatchOptions.OnStatus.
func clientLogger(log *slog.Logger) logr.Logger {
	return logr.FromSlogHandler(quieter{log.Handler()})
}

// quieter is a handler for which errors are information, and the rest debugging.
type quieter struct{ slog.Handler }

func (q quieter) level(l slog.Level) slog.Level {
	if l >= slog.LevelWarn {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (q quieter) Enabled(ctx context.Context, l slog.Level) bool {
	return q.Handler.Enabled(ctx, q.level(l))
}

func (q quieter) Handle(ctx context.Context, r slog.Record) error {
	r.Level = q.level(r.Level)
	if !q.Handler.Enabled(ctx, r.Level) {
		return nil // logr does not ask before it hands over an error
	}
	return q.Handler.Handle(ctx, r)
}

func (q quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{q.Handler.WithAttrs(attrs)}
}

func (q quieter) WithGroup(name string) slog.Handler { return quieter{q.Handler.WithGroup(name)} }
