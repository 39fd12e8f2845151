// SPDX-License-Identifier: Apache-2.0

// Package scenarios sends real traffic through a real cluster while versions, routes, and Outrigger itself change.
package scenarios

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"outrigger.dev/outrigger/test/traffic"
)

var (
	pages = flag.String("pages", filepath.Join("..", "..", "..", "bin", "traffic"), "folder for the plots and the page")
	rate  = flag.Int("rate", 50, "requests per second of each load")
)

// The cluster, and what the scenarios recorded there. cluster is nil without E2E_IMAGE and E2E_LOAD.
var (
	cluster *Cluster
	root    context.Context // ends with an interrupt
	records recorded
)

type recorded struct {
	sync.Mutex
	all []*traffic.Record
}

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("E2E_IMAGE") == "" && os.Getenv("E2E_LOAD") == "" {
		os.Exit(m.Run()) // TestTraffic is skipped and says how to run it
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "traffic:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	var stop context.CancelFunc
	root, stop = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	temporary, err := os.MkdirTemp("", "outrigger-traffic-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(temporary) }()
	folder, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		return 1, err
	}
	if cluster, err = connect(root, folder, temporary); err != nil {
		return 1, err
	}
	if err := cluster.prepare(root); err != nil {
		return 1, err
	}
	code = m.Run()
	if root.Err() != nil {
		fmt.Println("Interrupted; everything that the scenarios created is removed.")
		code = 130
	}
	cleaning, done := context.WithTimeout(context.Background(), 3*time.Minute)
	defer done()
	return code, errors.Join(cluster.Clean(cleaning), writePage())
}

// prepare refuses a cluster that has an Outrigger of its own, and gives the nodes the images.
func (c *Cluster) prepare(ctx context.Context) error {
	if err := c.Clean(ctx); err != nil {
		return fmt.Errorf("remove what an earlier run left behind: %w", err)
	}
	// One that was installed from the manifest, or under another name, is no release of this name.
	deployments, err := c.Command(ctx, nil, "kubectl", "get", "deployments", "-A", "-l", "app.kubernetes.io/name=outrigger", "-o", `jsonpath={range .items[*]}Deployment {.metadata.namespace}/{.metadata.name} {end}`)
	if err != nil {
		return err
	}
	releases, err := c.Command(ctx, nil, "helm", "list", "-A", "-q", "--filter", "^outrigger$")
	if err != nil {
		return err
	}
	if found := strings.TrimSpace(deployments + releases); found != "" {
		return fmt.Errorf("the cluster already has Outrigger (%s); nothing was changed. Uninstall it first, because the scenarios install their own", found)
	}
	if command := os.Getenv("E2E_LOAD"); command != "" {
		for _, archive := range []string{"outrigger-image.tar", "traffic-42.tar", "traffic-43.tar"} {
			load := exec.CommandContext(ctx, "sh", "-c", command+` "$0"`, filepath.Join(c.Root, "bin", archive))
			load.Env = c.environment
			if out, err := load.CombinedOutput(); err != nil {
				return fmt.Errorf("E2E_LOAD=%s: %w\n%s", command, err, out)
			}
		}
	}
	if c.App == "" {
		c.App = "outrigger.dev/traffic"
	}
	return nil
}

// Clean removes what runs of the scenarios created, this one or an earlier one.
func (c *Cluster) Clean(ctx context.Context) error {
	owned, err := c.Command(ctx, nil, "kubectl", "get", "namespace", "-l", runLabel, "-o", "name")
	if err != nil || owned == "" {
		return err
	}
	var faults []error
	if release, err := c.Command(ctx, nil, "kubectl", "get", "namespace", "-l", runLabel, "--field-selector=metadata.name="+system, "-o", "name"); err != nil {
		faults = append(faults, err)
	} else if release != "" {
		_, err := c.Command(ctx, nil, "helm", "uninstall", "outrigger", "-n", system, "--ignore-not-found", "--wait")
		faults = append(faults, err)
	}
	for _, objects := range []string{"services", "secrets"} {
		_, err := c.Command(ctx, nil, "kubectl", "delete", objects, "-l", runLabel, "-n", c.Gateway.Namespace, "--ignore-not-found")
		faults = append(faults, err)
	}
	_, err = c.Command(ctx, nil, "kubectl", "delete", "namespace", "-l", runLabel, "--timeout=2m")
	return errors.Join(append(faults, err)...)
}

// writePage collects all records on one page.
func writePage() error {
	records.Lock()
	defer records.Unlock()
	if len(records.all) == 0 {
		return nil
	}
	return traffic.WritePage(*pages, "Traffic while versions, routes, and Outrigger change", records.all)
}
