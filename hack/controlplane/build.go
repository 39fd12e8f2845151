// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// The versions of the parts of a control plane, unless the environment names another version of Kubernetes. They are those of
// the go.mod files in hack/tools; a test compares them.
const (
	KubernetesVersion = "v1.37.2"
	EtcdVersion       = "v3.7.3"
	KwokVersion       = "v0.8.0"
	HelmVersion       = "v3.22.0"
)

// Assets are the paths of the commands of a control plane by their names: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubectl, kwok, helm and launcher.
type Assets map[string]string

// tool is a command that Build makes out of a Go module.
type tool struct {
	name    string
	module  string // folder below hack/tools
	version string
	pkg     string
	link    string // flags of the linker, for the version that it reports
}

// tools are the commands of a control plane of the version that Kubernetes returns.
func tools() []tool {
	version := Kubernetes()
	kubernetes := func(name string) tool {
		const pkg = "k8s.io/component-base/version"
		part := strings.Split(strings.TrimPrefix(version, "v")+"..", ".")
		link := fmt.Sprintf("-X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s", pkg, version, pkg, part[0], pkg, part[1])
		return tool{name, "kubernetes", version, "k8s.io/kubernetes/cmd/" + name, link}
	}
	return []tool{
		{"etcd", "etcd", EtcdVersion, "go.etcd.io/etcd/server/v3", ""},
		kubernetes("kube-apiserver"),
		kubernetes("kube-controller-manager"),
		kubernetes("kube-scheduler"),
		kubernetes("kubectl"),
		{"kwok", "kwok", KwokVersion, "sigs.k8s.io/kwok/cmd/kwok", "-X sigs.k8s.io/kwok/pkg/consts.Version=" + KwokVersion},
		{"helm", "helm", HelmVersion, "helm.sh/helm/v3/cmd/helm", "-X helm.sh/helm/v3/internal/version.version=" + HelmVersion},
	}
}

// Build returns the commands of a control plane. It looks for each in the folder that KUBEBUILDER_ASSETS names, then
// in the cache folder, and builds what it has not found; progress (nil = none) receives what is being done and how
// long that takes. The cache folder is OUTRIGGER_CACHE or "outrigger" in the user's, with a folder per version, and
// safe to share between processes: one builds, the others wait. An error names the command that could not be built.
func Build(ctx context.Context, progress io.Writer) (Assets, error) {
	if progress == nil {
		progress = io.Discard
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	assets, missing := find(cache)
	if len(missing) > 0 {
		if err := buildMissing(ctx, cache, progress); err != nil {
			return nil, err
		}
		if assets, missing = find(cache); len(missing) > 0 {
			return nil, fmt.Errorf("%s was built but is not in %s", missing[0].name, cache)
		}
	}
	assets["launcher"], err = buildLauncher(ctx, cache)
	return assets, err
}

func cacheDir() (string, error) {
	if dir := os.Getenv("OUTRIGGER_CACHE"); dir != "" {
		dir, err := filepath.Abs(dir)
		return filepath.Join(dir, "controlplane"), err
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder (OUTRIGGER_CACHE names one): %w", err)
	}
	return filepath.Join(dir, "outrigger", "controlplane"), nil
}

// find returns the paths of the existing tools, and the names of the missing ones.
func find(cache string) (Assets, []tool) {
	assets, missing := Assets{}, []tool(nil)
	given := os.Getenv("KUBEBUILDER_ASSETS")
	for _, t := range tools() {
		built := t.path(cache)
		switch {
		case given != "" && executable(filepath.Join(given, t.name)):
			assets[t.name], _ = filepath.Abs(filepath.Join(given, t.name))
		case executable(built):
			assets[t.name] = built
		default:
			missing = append(missing, t)
		}
	}
	return assets, missing
}

func (t tool) path(cache string) string {
	return filepath.Join(cache, fmt.Sprintf("%s-%s-%s-%s", t.module, t.version, runtime.GOOS, runtime.GOARCH), t.name)
}

func executable(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// buildMissing builds what is missing once it alone may, which can be less than before it waited.
func buildMissing(ctx context.Context, cache string, progress io.Writer) error {
	unlock, err := lock(ctx, cache, progress)
	if err != nil {
		return err
	}
	defer unlock()
	_, missing := find(cache)
	if len(missing) == 0 {
		return nil
	}
	source, err := toolsDir(ctx)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(progress, "building the control plane into %s, once: %s on 2 cores, less if Go has built it before\n", cache, estimate(missing))
	start := time.Now()
	for i, t := range missing {
		_, _ = fmt.Fprintf(progress, "building %s %s (%d of %d; %s in all)\n", t.name, strings.TrimPrefix(t.version, "v"), i+1, len(missing), estimate(missing))
		source, pinned := source, t.module != "kubernetes" || t.version == KubernetesVersion
		if !pinned {
			source = filepath.Join(cache, "modules-"+t.version)
			if err := kubernetesModule(ctx, source, t.version); err != nil {
				return err
			}
		}
		if err := t.build(ctx, source, cache, pinned, progress); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(progress, "built in %s\n", time.Since(start).Round(time.Second))
	return nil
}

// estimate says how long the tools take: Kubernetes' share most of their packages, so only the first of them is long.
func estimate(missing []tool) string {
	minutes := map[string]int{"kubernetes": 8, "etcd": 1, "kwok": 2, "helm": 1}
	total := 0
	for _, t := range missing {
		total += minutes[t.module]
		minutes[t.module] = 0
	}
	return fmt.Sprintf("about %d minutes", total)
}

// lock waits until no other process builds.
func lock(ctx context.Context, cache string, progress io.Writer) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var told time.Time
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // closing unlocks
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			_ = file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		if time.Since(told) > 30*time.Second {
			_, _ = fmt.Fprintln(progress, "another process builds the control plane; waiting for it")
			told = time.Now()
		}
		select {
		case <-ctx.Done():
			_ = file.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// toolsDir finds hack/tools, whose modules are no part of ours and so cannot be embedded, from any module that requires ours.
func toolsDir(ctx context.Context) (string, error) {
	const module = "outrigger.dev/outrigger/hack"
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("find the source of module %s (run this inside the repository): %w", module, err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "tools"), nil
}

// build builds the tool beside its place and moves it there, so that what is found there is whole. Unless its module is pinned,
// the go command completes go.mod and go.sum.
func (t tool) build(ctx context.Context, source, cache string, pinned bool, progress io.Writer) error {
	place := t.path(cache)
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return err
	}
	unfinished := place + ".unfinished"
	defer func() { _ = os.Remove(unfinished) }()

	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", strings.TrimSpace("-s -w "+t.link), "-o", unfinished, t.pkg)
	command.Dir = filepath.Join(source, t.module)
	flags := "-mod=readonly"
	if !pinned {
		flags = "-mod=mod"
	}
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+flags, "GOWORK=off")
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) } // it ends its compilers itself
	command.WaitDelay = 10 * time.Second
	var output goOutput
	command.Stderr = &output

	stop := everySome(20*time.Second, func(since time.Duration) {
		_, _ = fmt.Fprintf(progress, "  still building %s after %s\n", t.name, since.Round(time.Second))
	})
	err := command.Run()
	stop()
	if err != nil {
		return fmt.Errorf("build %s from %s: %w\n%s", t.name, command.Dir, err, strings.TrimSpace(output.rest.String()))
	}
	return os.Rename(unfinished, place)
}

// everySome calls tell again and again, until it is stopped.
func everySome(interval time.Duration, tell func(since time.Duration)) (stop func()) {
	start, tick, done, ended := time.Now(), time.NewTicker(interval), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				tell(time.Since(start))
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
		<-ended
	}
}

// goOutput is what the go command says: it counts the downloads and keeps the rest.
type goOutput struct {
	downloads atomic.Int64
	rest      strings.Builder
	line      []byte
}

func (o *goOutput) Write(p []byte) (int, error) {
	for _, b := range p {
		if o.line = append(o.line, b); b != '\n' {
			continue
		}
		if strings.HasPrefix(string(o.line), "go: downloading ") {
			o.downloads.Add(1)
		} else {
			o.rest.Write(o.line)
		}
		o.line = o.line[:0]
	}
	return len(p), nil
}

//go:embed launcher/*.go
var launcherSource embed.FS

// buildLauncher builds the launcher from its embedded source into a folder named after what is in it.
func buildLauncher(ctx context.Context, cache string) (string, error) {
	sources, err := fs.Glob(launcherSource, "launcher/*.go")
	if err != nil {
		return "", err
	}
	files, sum := map[string][]byte{"go.mod": []byte("module launcher\n\ngo 1.26.0\n")}, sha256.New()
	for _, name := range sources { // Glob sorts
		data, err := launcherSource.ReadFile(name)
		if err != nil {
			return "", err
		}
		files[filepath.Base(name)] = data
		sum.Write(data)
	}
	place := filepath.Join(cache, fmt.Sprintf("launcher-%s-%s-%s", hex.EncodeToString(sum.Sum(nil))[:12], runtime.GOOS, runtime.GOARCH), "launcher")
	if executable(place) {
		return place, nil
	}
	if err := os.MkdirAll(filepath.Dir(place), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(place), "build-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(work, name), data, 0o644); err != nil {
			return "", err
		}
	}
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", "launcher", ".")
	command.Dir = work
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the launcher: %w\n%s", err, out)
	}
	return place, os.Rename(filepath.Join(work, "launcher"), place)
}
