// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// childCommand returns a command that runs the program at path and dies with this process: on Linux the kernel sees
// to it, elsewhere the guard. The name is that of its record below Dir and may be used once at a time. It has a
// separate process group, so that Ctrl-C in a terminal does not reach it; the end of ctx kills it.
func (c *ControlPlane) childCommand(ctx context.Context, name, path string, args ...string) (*exec.Cmd, error) {
	place, err := stand(c.Dir, c.Assets, name, path)
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, place, args...)
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.WaitDelay = 5 * time.Second
	return command, nil
}

// stand puts the launcher into dir under the name of a program and returns its path there.
func stand(dir string, assets Assets, name, path string) (string, error) {
	place := filepath.Join(dir, "bin", name)
	for link, target := range map[string]string{place: assets["launcher"], place + ".real": path} {
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if err := os.Symlink(target, link); err != nil {
			return "", err
		}
	}
	return place, nil
}

// startGuard starts the process that clears dir away if this one dies. Writing a byte into what is returned, and
// closing it, ends the guard without that.
func startGuard(dir string, assets Assets) (*guard, error) {
	command := &exec.Cmd{Path: assets["launcher"], Args: []string{"guard", dir}, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("start the guard: %w", err)
	}
	return &guard{command, stdin}, nil
}

type guard struct {
	command *exec.Cmd
	stdin   io.WriteCloser
}

func (g *guard) dismiss() error {
	_, err := g.stdin.Write([]byte{1})
	return errors.Join(err, g.stdin.Close(), g.command.Wait())
}

// component is a running part of the control plane that envtest knows nothing about.
type component struct {
	name    string
	command *exec.Cmd
	ended   chan struct{} // closed when it has; command.ProcessState says how
}

// startComponent starts an asset; what it says goes into its log.
func (c *ControlPlane) startComponent(name string, args ...string) (*component, error) {
	command, err := c.childCommand(context.Background(), name, c.Assets[name], args...)
	if err != nil {
		return nil, err
	}
	log, err := os.Create(c.logFile(name))
	if err != nil {
		return nil, err
	}
	command.Stdout, command.Stderr = log, log
	command.Env = append(os.Environ(), "HOME="+filepath.Join(c.Dir, "home")) // kwok reads a configuration from there
	if err := command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	running := &component{name: name, command: command, ended: make(chan struct{})}
	go func() {
		_ = command.Wait() // its ProcessState says more
		_ = os.Remove(filepath.Join(c.Dir, "run", name))
		_ = log.Close()
		close(running.ended)
	}()
	return running, nil
}

// stop ends the component and waits for it.
func (p *component) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(5 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// waitHealthy waits until http answers 200. The error contains the end of the component's log.
func (c *ControlPlane) waitHealthy(ctx context.Context, p *component, client *http.Client, url string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if response, err := client.Get(url); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended before it was healthy: %s\n%s", p.name, p.command.ProcessState, c.tail(p.name))
		case <-ctx.Done():
			return fmt.Errorf("%s is not healthy (%s): %w\n%s", p.name, url, ctx.Err(), c.tail(p.name))
		case <-tick.C:
		}
	}
}

func (c *ControlPlane) logFile(name string) string { return filepath.Join(c.LogDir, name+".log") }

// tail returns the last lines of a component's log.
func (c *ControlPlane) tail(name string) string {
	const lines = 15
	data, err := os.ReadFile(c.logFile(name))
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Sprintf("the end of %s's log:\n  %s", name, strings.Join(all[max(0, len(all)-lines):], "\n  "))
}

// freePort returns a port of the loopback interface that no process listened on just now.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), listener.Close()
}
