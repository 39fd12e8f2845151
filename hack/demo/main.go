// SPDX-License-Identifier: Apache-2.0

// Command demo shows what a user does with Outrigger, on a real control plane that it builds and starts itself: it prints a
// command as you would type it, runs it, and shows the lines of the output that matter. It does not print commands that only check.
// Every step is checked; the first failure ends the demo with the step's name and status 1.
//
// With -verbose, or VERBOSE=1 in the environment, it shows every command that it runs, and whole outputs. After the last step
// the control plane stays up until Ctrl-C; with -once, or ONCE=1, the demo ends by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"outrigger.dev/outrigger/hack/controlplane"
	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/hack/istio"
	"sigs.k8s.io/yaml"
)

func main() {
	once := flag.Bool("once", isSet("ONCE"), "end after the last step (also: ONCE=1)")
	verbose := flag.Bool("verbose", isSet("VERBOSE"), "show every command and whole outputs (also: VERBOSE=1)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end := stayUp
	if *once {
		end = sayMore
	}
	err := run(ctx, newScreen(os.Stdout, *verbose), end)
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(os.Stderr, "\ninterrupted; everything has been stopped")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "\nThe demo failed.\n%v\n", err)
		os.Exit(1)
	}
}

func isSet(variable string) bool {
	set, _ := strconv.ParseBool(os.Getenv(variable))
	return set
}

// run is the demo. Its end runs after the last step, while the control plane is up. Whatever run starts has ended when it returns.
func run(ctx context.Context, s *screen, end func(context.Context, *stage) error) (err error) {
	began := time.Now()
	progress := newProgress(s)
	defer progress.close()
	plane, err := controlplane.Start(ctx, controlplane.Options{Progress: progress})
	if err != nil {
		return fmt.Errorf("start the control plane: %w", err)
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	stage, err := prepare(ctx, s, plane, progress)
	if err != nil {
		return err
	}
	defer stage.close()
	progress.close()
	s.note("A Kubernetes control plane is ready after %v.", time.Since(began).Round(time.Second))

	if err := walk(ctx, stage); err != nil {
		return stage.installed.Explain(err)
	}
	s.heading("Done: every step succeeded")
	return end(ctx, stage)
}

// sayMore prints what to try after the demo.
func sayMore(_ context.Context, s *stage) error {
	s.plain(afterwards)
	return nil
}

// stayUp waits until the user ends the demo.
func stayUp(ctx context.Context, s *stage) error {
	s.say("The control plane stays up until Ctrl-C. In another terminal:")
	s.plain("\n" + enter(s.dir, s.kubeconfig) + meanwhile)
	<-ctx.Done()
	s.plain("\nStopping.\n")
	return nil
}

// enter returns the commands that set up another terminal for the demo.
func enter(dir, kubeconfig string) string {
	return "  cd " + dir + "\n  export KUBECONFIG=" + kubeconfig + " PATH=$PWD/bin:$PATH\n"
}

// The commands to try after the last step.
const (
	meanwhile = `  kubectl set env deployment/checkout-v2 ERRORS- -n checkout      # fix v2: a new canary starts automatically
  outrigger status -n checkout                                    # show its progress, until v2 has succeeded
  outrigger promote checkout v1 -n checkout --wait                # then roll v2 out again: checkout has traffic, springbootapp has none
  outrigger canary checkout v2 -n checkout --retry --steps 10,50,100 --interval 10s --wait
  outrigger undo springbootapp -n springistiodemo                 # back to v1
  outrigger shift springbootapp v1=50 v2=50 -n springistiodemo    # half to each
  outrigger explain service/springbootapp -n springistiodemo      # where its requests go, and why
  kubectl get destinationrule,virtualservice -n springistiodemo -o yaml
  outrigger dashboard -A                                          # all of this in a browser, until Ctrl-C

A canary of springbootapp has no metrics here, so check only the readiness of its pods:
  outrigger promote springbootapp v1 -n springistiodemo --wait
  outrigger canary springbootapp v2 -n springistiodemo --retry --check readiness --steps 10,50,100 --interval 10s --wait
`
	afterwards = `  make demo              keeps running, so that you can try commands
  make demo VERBOSE=1    shows every command and the YAML
  make quickstart        the same on your own cluster (docs/start/quickstart.md)
`
)

// prepare installs Istio's charts, and puts everything that the commands name into one folder.
func prepare(ctx context.Context, s *screen, plane *controlplane.ControlPlane, progress io.Writer) (*stage, error) {
	_, _ = fmt.Fprintln(progress, "installing Istio's CRDs and ConfigMaps")
	if err := istio.Install(ctx, plane, nil); err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintln(progress, "building outrigger")
	application, err := buildApplication(ctx, plane.Dir)
	if err != nil {
		return nil, err
	}
	installed, err := install.Prepare(ctx, plane, install.Options{Images: map[string]string{"application": application}})
	if err != nil {
		return nil, err
	}
	dir, err := folder(plane, installed)
	if err != nil {
		installed.Close()
		return nil, fmt.Errorf("prepare the folder of the demo: %w", err)
	}
	env := append(os.Environ(), plane.Env()...)
	env = append(env, "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
	calls, err := newCaller(plane.Config, installed.Node, filepath.Join(dir, "targets"))
	if err != nil {
		installed.Close()
		return nil, err
	}
	background, stop := context.WithCancel(ctx)
	return &stage{screen: s, dir: dir, kubeconfig: plane.Kubeconfig, env: env, installed: installed, application: application, caller: calls, background: background, stop: stop}, nil
}

// folder creates the folder in which the commands run, with the programs, our chart and examples, and Istio's gateway chart.
func folder(plane *controlplane.ControlPlane, installed *install.Installed) (string, error) {
	dir := filepath.Join(plane.Dir, "demo")
	for _, name := range []string{"bin", "istio"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
	}
	for name, target := range map[string]string{
		"charts":                filepath.Join(installed.Root, "charts"),
		"examples":              filepath.Join(installed.Root, "examples"),
		"bin/kubectl":           plane.Assets["kubectl"],
		"bin/helm":              plane.Assets["helm"],
		"bin/outrigger":         installed.Binary,
		"local-node.yaml":       installed.ValuesFile,
		"bin/kubectl-outrigger": installed.Binary,
	} {
		if err := os.Symlink(target, filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return "", err
		}
	}
	if _, err := istio.WriteChart(filepath.Join(dir, "istio"), "gateway"); err != nil {
		return "", err
	}
	values, err := yaml.Marshal(istio.GatewayValues())
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "istio", "gateway-values.yaml"), values, 0o600)
}
