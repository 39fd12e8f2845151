// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"outrigger.dev/outrigger/internal/dashboard"
	"outrigger.dev/outrigger/internal/diagnose"
)

// dashboardFlags are the flags of outrigger dashboard, apart from those that select the cluster.
type dashboardFlags struct {
	all, noBrowser, readOnly bool
	port                     int
}

func dashboardCommand() *cobra.Command {
	var from clusterFlags
	var flags dashboardFlags
	command := &cobra.Command{
		Use:   "dashboard",
		Short: "Show Services, canaries, problems, and sidecars in a browser, and change traffic there",
		Long: `Serves a dashboard on this machine until you interrupt it, and opens it in your browser. The pages show the same information as
"outrigger status", "explain", and "coverage", with your permissions, and update live.

The dashboard listens on 127.0.0.1 only, and nothing is installed in the cluster. Your browser gets access through a file that only you
can read, and that works once, within a minute. Before you confirm an action, you see its effect, the equivalent kubectl command, and the
result of a server-side dry run.`,
		Example: `  # The namespace of the kubeconfig's context, then every namespace that is labeled or has routes
  outrigger dashboard
  outrigger dashboard -A

  # Without a browser, on a fixed port, for example to forward it over SSH
  outrigger dashboard -n demo --no-browser --port 8090`,
		Args: NoArguments,
		RunE: func(command *cobra.Command, _ []string) error { return flags.run(command, &from) },
	}
	from.register(command, true)
	f := command.Flags()
	f.BoolVarP(&flags.all, "all-namespaces", "A", false, "every namespace that is labeled or has routes of Outrigger")
	f.IntVar(&flags.port, "port", 0, "port on 127.0.0.1 (default: a free one)")
	f.BoolVar(&flags.noBrowser, "no-browser", false, "do not open a browser; print the path of the file that opens the dashboard")
	f.BoolVar(&flags.readOnly, "read-only", false, "offer and accept no actions")
	_ = command.RegisterFlagCompletionFunc("port", cobra.NoFileCompletions)
	return command
}

// memoryLimit is a soft limit that makes the garbage collector run more often, so that the process, whose code takes about 85 MB, stays below
// 280 MB. With 5,000 Services, about 100 MB are live.
const memoryLimit = 170 << 20

// run serves the dashboard until the command is interrupted.
func (f *dashboardFlags) run(command *cobra.Command, from *clusterFlags) error {
	if f.port < 0 || f.port > 65535 {
		return usagef("--port=%d: expected a port from 1 to 65535, or 0 for a free one", f.port)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	ctx, stop := untilInterrupted(command.Context())
	defer stop()
	ignoreReadStops()
	from.kube.requestTimeout = requestTimeout
	l, err := from.connect(ctx, command.ErrOrStderr())
	if err != nil {
		return err
	}
	l, changed := l.watching(ctx)
	data := newDashboardData(l, from, f.all)
	data.metrics = &dashboardMetrics{ctx: ctx, connect: from.metricsSource, now: l.now}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.port)))
	if err != nil {
		return fmt.Errorf("--port=%d: %w. Example: --port=0 for a free port", f.port, err)
	}
	scope := "namespace " + l.namespace
	if f.all {
		scope = "all namespaces"
	}
	options := dashboard.Options{Address: listener.Addr().String(), Scope: scope, Cluster: from.kube.context(), Flags: from.kube.selecting(), ReadOnly: f.readOnly, Data: data, Actions: actionsOf(data), Now: l.now}
	server, err := dashboard.New(options)
	if err != nil {
		_ = listener.Close() // the error above is the one to report
		return err
	}
	data.metrics.refresh = server.Refresh
	ended := make(chan error, 2)
	first := make(chan struct{})
	updates := &dashboardUpdates{server: server, first: first}
	l.parts = &parts{each: updates.part}
	go func() {
		stream := statusStream{changed: changed, read: func(ctx context.Context) (diagnose.StatusReport, error) {
			updates.began = l.now()
			return data.status(ctx)
		}}
		if err := stream.run(ctx, updates.whole); err != nil {
			ended <- err
		}
	}()
	web := &http.Server{Handler: server, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	go func() { ended <- fmt.Errorf("serve the dashboard: %w", web.Serve(listener)) }()
	defer func() { _ = web.Close() }()
	select { // if the first reading fails at once, no browser is opened
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	case <-first:
	case <-time.After(firstPage):
	}
	d := launcher{server: server, scope: scope, address: options.Address, noBrowser: f.noBrowser, in: command.InOrStdin(), out: command.OutOrStdout()}
	err = d.run(ctx, ended)
	stop() // ends the live updates
	return err
}

// untilInterrupted returns a context that ends when the user interrupts the command or closes its terminal, or the system stops it. A second
// signal ends the process at once. A command that nohup has started outlives its terminal.
func untilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// firstPage is how long the dashboard waits for a complete reading before it opens and shows what has been read so far.
const firstPage = 500 * time.Millisecond

// dashboardUpdates updates the pages. During the first reading, they show what has been read so far.
type dashboardUpdates struct {
	server *dashboard.Server
	isRead bool
	began  time.Time     // of the last reading
	first  chan struct{} // closed after the first reading
}

func (u *dashboardUpdates) part(report diagnose.StatusReport) {
	if !u.isRead {
		u.server.Update(&report, nil)
	}
}

// whole returns an error if the first reading failed.
func (u *dashboardUpdates) whole(report diagnose.StatusReport, err error) error {
	if err != nil && !u.isRead {
		return err
	}
	if err != nil {
		u.server.Fail(u.began, withoutAttempt(err))
		return nil
	}
	u.server.Update(&report, nil)
	if !u.isRead {
		u.isRead = true
		close(u.first)
	}
	return nil
}

func say(out io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(out, format+"\n", args...) // nothing to do if stdout is closed
}

// launcher opens the dashboard in the user's browser. It writes a file that only the user can read and that navigates to a link with a
// single-use token: other users of the machine could read a link that is an argument of the browser.
type launcher struct {
	server    *dashboard.Server
	scope     string // what the pages show
	address   string
	noBrowser bool
	in        io.Reader
	out       io.Writer
}

// run opens the dashboard, and again for each line of input, until the context or the server ends. If the first file cannot be written, it
// returns the error; later, it prints the error, because the open pages work without a file.
func (l launcher) run(ctx context.Context, ended <-chan error) error {
	folder, used, err := l.write()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // a token in it is useless once the server has stopped
	say(l.out, "Dashboard for %s: http://%s", l.scope, l.address)
	l.announce(ctx, folder)
	say(l.out, "Press Enter for a new file, or Ctrl-C to stop.")
	lines := make(chan struct{})
	go l.readLines(ctx, lines)
	expired := time.After(dashboard.TokenLifetime)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case _, isLine := <-lines:
			if !isLine {
				lines = nil
				if ctx.Err() == nil {
					l.server.EndLinks()
					say(l.out, "The standard input has ended: Enter no longer creates a new file. For a new file, restart outrigger dashboard.")
				}
				continue
			}
			l.remove(folder)
			if folder, used, err = l.write(); err != nil {
				say(l.out, "Error: %v", err)
				continue
			}
			l.announce(ctx, folder)
			expired = time.After(dashboard.TokenLifetime)
		case <-used:
			used = nil
			l.remove(folder)
		case <-expired:
			l.remove(folder)
		}
	}
}

// readLines sends a value for each line of input, of any length, and closes the channel at the end of the input.
func (l launcher) readLines(ctx context.Context, lines chan<- struct{}) {
	defer close(lines)
	for reader := bufio.NewReader(foregroundReader{ctx, l.in}); ; {
		_, err := reader.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return
		}
		select {
		case lines <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

// foregroundReader reads a terminal while the process is in its foreground. In the background (see ignoreReadStops), it waits.
type foregroundReader struct {
	ctx  context.Context //nolint:containedctx // of the command that reads
	from io.Reader
}

// Read implements io.Reader.
func (f foregroundReader) Read(into []byte) (int, error) {
	for {
		n, err := f.from.Read(into)
		if n > 0 || !errors.Is(err, syscall.EIO) {
			return n, err
		}
		select { // nothing reports that a shell has moved the process to the foreground
		case <-f.ctx.Done():
			return 0, io.EOF
		case <-time.After(time.Second):
		}
	}
}

// linkFile is the name of the file that opens the dashboard.
const linkFile = "open.html"

// write writes a file that navigates to a new link, in a new directory: if the earlier one was removed, for example because it was old, another
// user could have created a directory with its name.
func (l launcher) write() (folder string, used <-chan struct{}, err error) {
	folder, err = os.MkdirTemp("", "outrigger-dashboard-") // of mode 0700
	if err != nil {
		return "", nil, fmt.Errorf("create a directory for the file that opens the dashboard: %w", err)
	}
	token, used := l.server.NewToken()
	page := fmt.Sprintf("<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n"+
		"<meta http-equiv=\"refresh\" content=\"0; url=http://%s/open?token=%s\">\n<title>Outrigger</title>\n", l.address, token)
	if err := os.WriteFile(filepath.Join(folder, linkFile), []byte(page), 0o600); err != nil {
		_ = os.RemoveAll(folder)
		return "", nil, fmt.Errorf("write the file that opens the dashboard: %w", err)
	}
	return folder, used, nil
}

// remove removes a file with its directory, if they still exist.
func (l launcher) remove(folder string) {
	if err := os.RemoveAll(folder); err != nil {
		say(l.out, "Error: remove the file that opens the dashboard: %v", err)
	}
}

// announce opens a browser, or prints the path of the file to open.
func (l launcher) announce(ctx context.Context, folder string) {
	file := filepath.Join(folder, linkFile)
	if !l.noBrowser && openBrowser(ctx, file) == nil {
		say(l.out, "Opening a browser. If none opens, open this file in one within %.0fs: %s", dashboard.TokenLifetime.Seconds(), file)
		return
	}
	say(l.out, "Open this file in a browser within %.0fs: %s", dashboard.TokenLifetime.Seconds(), file)
}

// openBrowser starts the system's program for opening files.
func openBrowser(ctx context.Context, file string) error {
	name, args := "xdg-open", []string{file}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", file}
	}
	program := exec.CommandContext(context.WithoutCancel(ctx), name, args...) //nolint:gosec // the file is the one of write
	program.SysProcAttr = ownProcessGroup()                                   // the browser outlives the dashboard, also if it is interrupted in a terminal
	if err := program.Start(); err != nil {
		return err
	}
	go func() { _ = program.Wait() }() // the user sees in the browser whether it succeeds
	return nil
}
