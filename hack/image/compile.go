// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// linkFlags are followed by the version. The Dockerfile has the same; a test compares them.
const linkFlags = "-s -w -X main.version="

// reportEvery is how often a build says how far it is.
const reportEvery = 5 * time.Second

// program is what was compiled for one platform.
type program struct {
	platform v1.Platform
	binary   string // its file
	modules  modules
}

// compile builds the package for each platform into a folder. The go command uses all cores for one platform, so they take
// turns.
func (r Recipe) compile(ctx context.Context, scratch string) ([]program, error) {
	var out []program
	for i, platform := range r.Platforms {
		start := time.Now()
		r.report("%s: compiling %s (%d of %d)", platform, r.Package, i+1, len(r.Platforms))
		p := program{platform: platform, binary: filepath.Join(scratch, platform.OS+"-"+platform.Architecture)}
		if err := r.build(ctx, platform, p.binary); err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
		var err error
		if p.modules, err = r.modulesOf(ctx, platform, p.binary); err != nil {
			return nil, fmt.Errorf("%s: %w", platform, err)
		}
		r.report("%s: compiled in %s", platform, time.Since(start).Round(time.Second))
		out = append(out, p)
	}
	return out, nil
}

// build compiles the package as the Dockerfile does.
func (r Recipe) build(ctx context.Context, platform v1.Platform, binary string) error {
	args := []string{"build", "-v", "-trimpath", "-ldflags", linkFlags + r.Version, "-o", binary}
	if !r.Stamp {
		args = append(args, "-buildvcs=false")
	}
	command := exec.CommandContext(ctx, "go", append(args, r.Package)...)
	command.Dir, command.Env = r.module(), r.environment(platform)
	output, err := command.StderrPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	// With -v, the go command names each package that it compiles. Everything is kept for the error.
	var said strings.Builder
	packages, last := 0, time.Now()
	for lines := bufio.NewScanner(output); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		packages++
		if time.Since(last) > reportEvery {
			last = time.Now()
			r.report("%s: compiling, %d packages so far", platform, packages)
		}
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", r.Package, err, said.String())
	}
	return nil
}

func (r Recipe) environment(platform v1.Platform) []string {
	return append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOOS="+platform.OS, "GOARCH="+platform.Architecture)
}

func (r Recipe) report(format string, args ...any) {
	if r.Progress != nil {
		_, _ = fmt.Fprintf(r.Progress, format+"\n", args...)
	}
}
