// Command demo walks the journey of a user of Outrigger on a real control plane that it builds and starts itself: it
// prints each command as one would type it, runs it, and shows what came back. Each step is checked; the first that
// does not come out right ends the demo with its name and status 1.
//
// After the last step the control plane stays up to play with until Ctrl-C; with -once, or ONCE=1 in the environment,
// the demo ends by itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	asked, _ := strconv.ParseBool(os.Getenv("ONCE"))
	once := flag.Bool("once", asked, "end after the last step (also: ONCE=1)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, *once)
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.Canceled):
		fmt.Fprintln(os.Stderr, "\ninterrupted; everything has been stopped")
		os.Exit(130)
	default:
		fmt.Fprintf(os.Stderr, "\nThe demo has failed.\n%v\n", err)
		os.Exit(1)
	}
}

// run is the demo. Whatever it starts has ended when it returns.
func run(ctx context.Context, once bool) (err error) {
	began := time.Now()
	s := newScreen(os.Stdout)
	s.say("Building what is missing and starting a Kubernetes control plane.")
	plane, err := controlplane.Start(ctx, controlplane.Options{Progress: s.progress()})
	if err != nil {
		return fmt.Errorf("start the control plane: %w", err)
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	stage, err := prepare(ctx, s, plane)
	if err != nil {
		return err
	}
	defer stage.installed.Close()
	s.note("Ready after %v.", time.Since(began).Round(time.Second))

	if err := walk(ctx, stage); err != nil {
		return stage.installed.Explain(err)
	}
	s.summary("Summary: every step succeeded")
	s.note("%v since the start.", time.Since(began).Round(time.Second))
	if once {
		return nil
	}
	s.say("The control plane stays up until Ctrl-C. To play with it, in another terminal:")
	s.plain("cd " + stage.dir + "\nexport KUBECONFIG=" + plane.Kubeconfig + " PATH=" + filepath.Join(stage.dir, "bin") + ":$PATH\n")
	<-ctx.Done()
	s.plain("\nStopping.\n")
	return nil
}

// prepare puts Istio into the cluster, and next to each other into one folder what the commands name.
func prepare(ctx context.Context, s *screen, plane *controlplane.ControlPlane) (*stage, error) {
	if err := istio.Install(ctx, plane, nil); err != nil {
		return nil, err
	}
	s.note("building outrigger")
	installed, err := install.Prepare(ctx, plane, install.Options{})
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
	return &stage{screen: s, dir: dir, env: env, installed: installed}, nil
}

// folder makes the folder in which the commands run: the commands themselves, our chart and examples, and Istio's
// gateway chart.
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
