// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Options say what Start starts; the zero value is a control plane with one kwok node, "node-1".
type Options struct {
	Assets        Assets              // the commands; nil = Build them
	Progress      io.Writer           // receives progress messages; nil discards them
	Nodes         []Node              // kwok's nodes; nil = one, "node-1", of Kubernetes' own version; empty = none
	APIServerArgs map[string][]string // more flags of kube-apiserver without their dashes, e.g. "audit-log-path"
	LogDir        string              // where the components' logs go; "" = below the control plane's folder, removed with it
	Timeout       time.Duration       // how long all of it may take to start; 0 = 2 minutes
}

// ControlPlane is a running one.
type ControlPlane struct {
	Kubeconfig string       // path of the administrator's kubeconfig file
	Config     *rest.Config // the same for Go
	Assets     Assets
	Dir        string // its folder, removed when it stops
	LogDir     string // one file per component, NAME.log

	environment *envtest.Environment
	components  []*component
	guard       *guard
	nodes       atomic.Int32 // created so far
	runs        atomic.Int32 // of kubectl and helm

	stopping sync.Once
	stopped  error
}

// silence keeps controller-runtime, which envtest logs to, from complaining that it has no logger. A logger that was set before stays.
var silence = sync.OnceFunc(func() { log.SetLogger(logr.Discard()) })

// Start starts a control plane and returns when its controllers work and its nodes are Ready. ctx bounds the
// starting only; the caller must call Stop. An error contains the end of the failed component's log, and no process remains.
func Start(ctx context.Context, options Options) (_ *ControlPlane, err error) {
	silence()
	if options.Progress == nil {
		options.Progress = io.Discard
	}
	if options.Assets == nil {
		if options.Assets, err = Build(ctx, options.Progress); err != nil {
			return nil, err
		}
	}
	if options.Nodes == nil {
		options.Nodes = []Node{{Name: "node-1"}}
	}
	if options.Timeout == 0 {
		options.Timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, options.Timeout)
	defer cancel()

	c, err := newControlPlane(options)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	_, _ = fmt.Fprintln(options.Progress, "starting etcd and kube-apiserver")
	if err := c.startAPIServer(options); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintln(options.Progress, "starting kube-controller-manager, kube-scheduler and kwok")
	if err := c.startControllers(ctx); err != nil {
		return nil, err
	}
	for _, node := range options.Nodes {
		if err := c.createNode(ctx, node); err != nil {
			return nil, err
		}
	}
	return c, c.waitReady(ctx, options.Nodes)
}

// newControlPlane makes the folder of a control plane and sets its guard; nothing runs yet.
func newControlPlane(options Options) (_ *ControlPlane, err error) {
	dir, err := os.MkdirTemp("", "outrigger-controlplane-")
	if err != nil {
		return nil, err
	}
	c := &ControlPlane{Assets: options.Assets, Dir: dir, LogDir: options.LogDir, Kubeconfig: filepath.Join(dir, "kubeconfig")}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if c.LogDir == "" {
		c.LogDir = filepath.Join(dir, "logs")
	}
	for _, folder := range []string{"bin", "run", "etcd", "apiserver", "home"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(c.LogDir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "owner"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return nil, err
	}
	c.guard, err = startGuard(dir, c.Assets)
	return c, err
}

// startAPIServer has envtest start etcd and kube-apiserver, with the ServiceAccount plugin, which envtest switches off
// because it starts no controllers.
func (c *ControlPlane) startAPIServer(options Options) error {
	logs := map[string]*os.File{}
	paths := map[string]string{}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		path, err := stand(c.Dir, c.Assets, name, c.Assets[name])
		if err != nil {
			return err
		}
		file, err := os.Create(c.logFile(name))
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // the commands have it by then
		logs[name], paths[name] = file, path
	}
	no := false
	c.environment = &envtest.Environment{
		UseExistingCluster: &no,
		ControlPlane: envtest.ControlPlane{
			Etcd: &envtest.Etcd{
				Path: paths["etcd"], DataDir: filepath.Join(c.Dir, "etcd"),
				Out: logs["etcd"], Err: logs["etcd"],
			},
			APIServer: &envtest.APIServer{
				Path: paths["kube-apiserver"], CertDir: filepath.Join(c.Dir, "apiserver"),
				Out: logs["kube-apiserver"], Err: logs["kube-apiserver"],
			},
			KubectlPath: c.Assets["kubectl"],
		},
		ControlPlaneStartTimeout: time.Minute,
		ControlPlaneStopTimeout:  20 * time.Second,
	}
	args := c.environment.ControlPlane.APIServer.Configure()
	args.Disable("disable-admission-plugins")
	args.Set("service-cluster-ip-range", "10.96.0.0/16")
	for name, values := range options.APIServerArgs {
		args.Set(name, values...)
	}
	config, err := c.environment.Start()
	if err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w\n%s\n%s", err, c.tail("etcd"), c.tail("kube-apiserver"))
	}
	c.Config = config
	return os.WriteFile(c.Kubeconfig, c.environment.KubeConfig, 0o600)
}

//go:embed kwok.yaml
var kwokStages []byte

// startControllers starts what makes objects move, and waits until all of it is healthy.
func (c *ControlPlane) startControllers(ctx context.Context) error {
	rootCA, stages := filepath.Join(c.Dir, "apiserver", "root-ca.crt"), filepath.Join(c.Dir, "kwok.yaml")
	if err := errors.Join(os.WriteFile(rootCA, c.Config.CAData, 0o600), os.WriteFile(stages, kwokStages, 0o600)); err != nil {
		return err
	}
	insecure := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a health check of our own child, which signs for itself
	}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	healthy, ctx := errgroup.WithContext(ctx)
	start := func(name, healthURL string, args ...string) error {
		port, err := freePort()
		if err != nil {
			return err
		}
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "PORT", port)
		}
		running, err := c.startComponent(name, args...)
		if err != nil {
			return err
		}
		c.components = append(c.components, running)
		healthy.Go(func() error {
			return c.waitHealthy(ctx, running, insecure, strings.ReplaceAll(healthURL, "PORT", port))
		})
		return nil
	}
	err := start("kube-controller-manager", "https://127.0.0.1:PORT/healthz",
		"--kubeconfig="+c.Kubeconfig,
		"--bind-address=127.0.0.1", "--secure-port=PORT",
		"--leader-elect=false",
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+filepath.Join(c.Dir, "apiserver", "sa-signer.key"),
		"--root-ca-file="+rootCA)
	if err == nil {
		err = start("kube-scheduler", "https://127.0.0.1:PORT/healthz",
			"--kubeconfig="+c.Kubeconfig, "--bind-address=127.0.0.1", "--secure-port=PORT", "--leader-elect=false")
	}
	if err == nil {
		err = start("kwok", "http://127.0.0.1:PORT/healthz",
			"--kubeconfig="+c.Kubeconfig, "--config="+stages, "--server-address=127.0.0.1:PORT",
			"--manage-nodes-with-annotation-selector="+nodeAnnotation+"=fake", "--cidr=10.244.0.0/16",
			"--node-lease-duration-seconds=40") // without leases the nodes lose their readiness after a minute
	}
	if err != nil {
		cancel()
		return errors.Join(err, healthy.Wait())
	}
	return healthy.Wait()
}

// Stop stops everything, waits for its end and removes Dir. It may be called again; only the first call does something.
func (c *ControlPlane) Stop() error {
	c.stopping.Do(func() {
		for _, running := range slices.Backward(c.components) {
			running.stop()
		}
		var errs []error
		if c.environment != nil {
			errs = append(errs, c.environment.Stop())
		}
		errs = append(errs, os.RemoveAll(c.Dir))
		if c.guard != nil {
			errs = append(errs, c.guard.dismiss())
		}
		c.stopped = errors.Join(errs...)
	})
	return c.stopped
}

// Kubectl runs kubectl with the administrator's kubeconfig and returns what it printed on its standard output. An
// error contains the command line and its standard error.
func (c *ControlPlane) Kubectl(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return c.run(ctx, "kubectl", stdin, args)
}

// Helm runs helm in the same way, with its own empty home directories.
func (c *ControlPlane) Helm(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return c.run(ctx, "helm", stdin, args)
}

func (c *ControlPlane) run(ctx context.Context, name string, stdin io.Reader, args []string) (string, error) {
	record := fmt.Sprintf("%s-%d", name, c.runs.Add(1))
	command, err := c.childCommand(ctx, record, c.Assets[name], args...)
	if err != nil {
		return "", err
	}
	defer func() {
		for _, file := range []string{"run/" + record, "bin/" + record, "bin/" + record + ".real"} {
			_ = os.Remove(filepath.Join(c.Dir, file))
		}
	}()
	command.Stdin, command.Env = stdin, append(os.Environ(), c.Env()...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Env returns the variables, NAME=VALUE, with which kubectl, helm and outrigger find this control plane and touch
// nothing of the user's.
func (c *ControlPlane) Env() []string {
	home := filepath.Join(c.Dir, "home")
	return []string{
		"KUBECONFIG=" + c.Kubeconfig,
		"KUBECACHEDIR=" + filepath.Join(home, "kube"),
		"KUBERC=off",
		"HELM_CACHE_HOME=" + filepath.Join(home, "helm", "cache"),
		"HELM_CONFIG_HOME=" + filepath.Join(home, "helm", "config"),
		"HELM_DATA_HOME=" + filepath.Join(home, "helm", "data"),
	}
}
