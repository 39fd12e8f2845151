// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"outrigger.dev/outrigger/api"
	"outrigger.dev/outrigger/hack/install"
	"outrigger.dev/outrigger/test/dashboard"
)

// dashboardAlone is the size that measures only the dashboard.
const dashboardAlone = "dashboard"

const (
	goalFirstPage   = time.Second
	goalDashboardMB = 300
	changesFor      = 10 * time.Second // how long Services are changed, one after the other
	isComplete      = `document.querySelector("#services") !== null && document.querySelector("#reading") === null`
)

// dashboards measures "outrigger dashboard -A": its first page, its memory, and its updates.
func (w *world) dashboards(ctx context.Context) error {
	if _, _, err := w.coldStart(ctx); err != nil {
		return err
	}
	if err := w.controller.stop(); err != nil { // nothing but the measurement changes the cluster
		return err
	}
	binary, err := w.build(ctx)
	if err != nil {
		return err
	}
	if err := w.inBrowser(ctx, binary); err != nil {
		return err
	}
	began := time.Now()
	d, err := w.startDashboard(ctx, binary)
	if err != nil {
		return err
	}
	defer d.stop()
	page, err := d.get(ctx, "/")
	if err != nil {
		return err
	}
	first := time.Since(began)
	for strings.Contains(page, `id="reading"`) {
		if page, err = d.get(ctx, "/"); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	cpu, peak, err := d.usage()
	if err != nil {
		return err
	}
	fmt.Printf("from the start of the command: first page %v (goal %v after the start), all Services %v; %d KB of HTML, %.1f s of CPU, at most %d MB resident (goal %d)\n",
		first.Round(time.Millisecond), goalFirstPage, time.Since(began).Round(time.Millisecond), len(page)>>10, cpu, peak, goalDashboardMB)
	if summary := fmt.Sprintf("%d Services", w.services); !strings.Contains(page, summary) {
		return fmt.Errorf("the page does not contain %q", summary)
	}
	return d.updates(ctx)
}

// build builds the command.
func (w *world) build(ctx context.Context) (string, error) {
	root, err := install.Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(w.dir, "outrigger")
	command := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/outrigger")
	command.Dir, command.Stderr = root, os.Stderr
	return binary, command.Run()
}

// inBrowser measures when a browser shows the first page, and all Services.
func (w *world) inBrowser(ctx context.Context, binary string) error {
	d, err := w.startDashboard(ctx, binary)
	if err != nil {
		return err
	}
	defer d.stop()
	link, err := d.process.Link()
	if err != nil {
		return err
	}
	shown, err := dashboard.Rendered(ctx, link, `document.querySelector("#services") !== null && document.readyState === "complete"`, isComplete)
	defer dashboard.Stop()
	if err != nil {
		fmt.Printf("not measured in a browser: %v\n", err)
		return nil
	}
	again, err := d.process.Link()
	if err != nil {
		return err
	}
	warm, err := dashboard.Rendered(ctx, again, isComplete)
	if err != nil {
		return err
	}
	fmt.Printf("in a browser, from the link: first page %v (goal %v), all Services %v; first page of a dashboard that has read the cluster %v\n",
		shown[0].Round(time.Millisecond), goalFirstPage, shown[1].Round(time.Millisecond), warm[0].Round(time.Millisecond))
	return nil
}

// session is a dashboard with a client that has its cookie.
type session struct {
	*world
	process *dashboard.Process
	client  http.Client
	end     context.CancelFunc
}

func (w *world) startDashboard(ctx context.Context, binary string) (*session, error) {
	ctx, end := context.WithCancel(ctx)
	process, err := dashboard.Run(ctx, binary, w.kubeconfig, "-A")
	d := &session{world: w, process: process, end: end}
	if err == nil {
		d.client.Jar, err = cookiejar.New(nil)
	}
	if err != nil {
		end()
		return nil, err
	}
	return d, nil
}

func (d *session) stop() {
	d.end()
	_ = d.process.Wait() // it was interrupted
}

// get returns a page. The first call opens the session.
func (d *session) get(ctx context.Context, path string) (string, error) {
	address := d.process.URL + path
	if at, err := url.Parse(d.process.URL); err != nil {
		return "", err
	} else if len(d.client.Jar.Cookies(at)) == 0 {
		link, err := d.process.Link()
		if err != nil {
			return "", err
		}
		if _, err := d.text(ctx, link); err != nil {
			return "", err
		}
	}
	return d.text(ctx, address)
}

func (d *session) text(ctx context.Context, address string) (string, error) {
	response, err := d.request(ctx, address)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s\n%s", address, response.Status, text)
	}
	return string(text), err
}

func (d *session) request(ctx context.Context, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	return d.client.Do(request)
}

// updates changes Services, and measures how soon and how often the page of the first 50 changes.
func (d *session) updates(ctx context.Context) error {
	response, err := d.request(ctx, d.process.URL+"/events?page="+url.QueryEscape("/"))
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	pages := make(chan string)
	var received atomic.Int64
	go func() {
		defer close(pages)
		lines := bufio.NewScanner(response.Body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			if text, is := strings.CutPrefix(lines.Text(), "data: "); is {
				received.Add(1)
				select {
				case pages <- text:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	until := func(wanted string) error {
		for {
			select {
			case text, open := <-pages:
				if !open {
					return errors.New("the live updates ended")
				}
				if strings.Contains(text, wanted) {
					return nil
				}
			case <-time.After(time.Minute):
				return fmt.Errorf("no update with %q within a minute", wanted)
			}
		}
	}
	if err := until("Services"); err != nil {
		return err
	}
	before, _, err := d.usage()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := d.weigh(ctx, 0, "v1=9O"); err != nil {
		return err
	}
	if err := until("1 problem"); err != nil {
		return err
	}
	took := time.Since(began)
	after, _, err := d.usage()
	if err != nil {
		return err
	}
	fmt.Printf("a change of one Service: on the page after %v, %.2f s of CPU\n", took.Round(time.Millisecond), after-before)

	go func() {
		for range pages {
		}
	}()
	begin := received.Load()
	changes := 0
	for began = time.Now(); time.Since(began) < changesFor; changes++ {
		if err := d.weigh(ctx, changes%perNamespace, []string{"v1=100", "v1=9O"}[changes/perNamespace%2]); err != nil {
			return err
		}
	}
	took = time.Since(began)
	updates := received.Load() - begin
	last, peak, err := d.usage()
	if err != nil {
		return err
	}
	rate := float64(updates) / took.Seconds()
	fmt.Printf("%.0f changes per second: %.2f updates per second (at most 2), %.2f s of CPU for each; at most %d MB resident (goal %d)\n",
		float64(changes)/took.Seconds(), rate, (last-after)/float64(max(updates, 1)), peak, goalDashboardMB)
	if updates == 0 || rate > 2.2 {
		return fmt.Errorf("%d updates in %v", updates, took)
	}
	return nil
}

// weigh writes weights. If they are invalid, the page counts a problem of the Service.
func (d *session) weigh(ctx context.Context, service int, weights string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, api.AnnotationWeights, weights)
	_, err := d.kube.CoreV1().Services(namespaceOf(service)).Patch(ctx, nameOf(service), types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

var peakMemory = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// usage returns the CPU seconds of the command, and its largest resident memory in MB, as Linux counts them.
func (d *session) usage() (cpu float64, peakMB int, err error) {
	folder := filepath.Join("/proc", strconv.Itoa(d.process.PID))
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return 0, 0, err
	}
	stat, err := os.ReadFile(filepath.Join(folder, "stat"))
	if err != nil {
		return 0, 0, err
	}
	found := peakMemory.FindSubmatch(status)
	_, after, _ := strings.Cut(string(stat), ") ") // the name of the command may contain spaces
	fields := strings.Fields(after)
	if found == nil || len(fields) < 13 {
		return 0, 0, fmt.Errorf("%s: unexpected format", folder)
	}
	kB, err := strconv.Atoi(string(found[1]))
	if err != nil {
		return 0, 0, err
	}
	for _, field := range fields[11:13] { // user and system time in hundredths of a second
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, 0, err
		}
		cpu += float64(ticks) / 100
	}
	return cpu, kB >> 10, nil
}
