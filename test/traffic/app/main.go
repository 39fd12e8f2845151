// SPDX-License-Identifier: Apache-2.0

// Command app is what the pods of the scenarios run: an application that names its version in each response, and a client.
//
//	app serve                    HTTP on 8080, gRPC health checks on 9090, TCP on 7070
//	app load -rate N URL         requests at a constant rate until stdin ends; prints each response as a line of JSON
//	app get URL                  prints the body of one response
//	app once                     ends with status 0
//	app sleep                    waits for a signal
//	app metrics -host NAME:PORT  scrapes all addresses of a name, and answers on 9090 like Prometheus
//
// The version is the label "version" of the pod, in the variable VERSION, or that of the image: v1 with the tag 42, and v2 with 43,
// as in the quick start. Faults of the application are variables, too: ERRORS=5 makes 5 percent of the responses errors, DELAY=300ms delays
// all of them. LISTEN is the address to listen at, if it is not all of them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"outrigger.dev/outrigger/test/traffic/load"
)

// version is the tag of the image; the build sets it.
var version = "42"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	switch command {
	case "serve":
		return serve(ctx)
	case "load":
		return send(ctx, args)
	case "get":
		return get(ctx, args)
	case "once":
		return nil
	case "sleep":
		<-ctx.Done()
		return nil
	case "metrics":
		return scrape(ctx, args)
	default:
		return fmt.Errorf("unknown command %q; use serve, load, get, once, sleep, or metrics", command)
	}
}

func send(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	rate := flags.Int("rate", 50, "requests per second")
	total := flags.Uint64("total", 0, "number of requests; 0 for no limit")
	header := http.Header{}
	flags.Func("header", "NAME=VALUE, can be repeated", func(text string) error {
		name, value, found := strings.Cut(text, "=")
		if !found {
			return fmt.Errorf("%q is not NAME=VALUE", text)
		}
		header.Add(name, value)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("load needs one URL, got %q", flags.Args())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if *total == 0 {
		go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	}
	out := bufio.NewWriter(os.Stdout)
	lines := json.NewEncoder(out)
	// The reader compares this with its own clock.
	if err := lines.Encode(load.Response{Sent: time.Now()}); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	var failed error
	load.Run(ctx, load.Options{URL: flags.Arg(0), Header: header, PerSecond: *rate, Total: *total}, func(r load.Response) {
		if failed == nil {
			failed = lines.Encode(r)
		}
		if failed == nil {
			failed = out.Flush()
		}
	})
	return failed
}

func get(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("get needs one URL, got %q", args)
	}
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil) //nolint:gosec // the scenario names the URL
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request) //nolint:gosec // the scenario names the URL

	for errors.Is(err, syscall.ECONNREFUSED) && ctx.Err() == nil { // the server is starting
		time.Sleep(10 * time.Millisecond)
		response, err = http.DefaultClient.Do(request) //nolint:gosec // the scenario names the URL
	}
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	return nil
}
