// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"outrigger.dev/outrigger/test/traffic/metrics"
)

// scrape scrapes at an interval, and answers queries until the context ends.
func scrape(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("metrics", flag.ContinueOnError)
	host := flags.String("host", "", "NAME:PORT; every address of the name is scraped")
	file := flags.String("file", "", "instead: a file with one address a line, such as 127.0.0.1:8080")
	listen := flags.String("listen", ":9090", "where queries are answered")
	interval := flags.Duration("interval", time.Second, "time between two scrapes")
	labels := map[string]string{}
	flags.Func("label", "NAME=VALUE of every series, can be repeated", func(text string) error {
		name, value, found := strings.Cut(text, "=")
		if !found {
			return fmt.Errorf("%q is not NAME=VALUE", text)
		}
		labels[name] = value
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || (*host == "") == (*file == "") || *interval <= 0 {
		return errors.New("metrics needs either -host or -file, and a positive -interval")
	}
	targets := metrics.Host(*host)
	if *file != "" {
		targets = metrics.File(*file)
	}
	server := metrics.New(targets, labels)
	listener := &http.Server{Addr: *listen, Handler: server, ReadHeaderTimeout: time.Minute}
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	go func() {
		ticks := time.NewTicker(*interval)
		defer ticks.Stop()
		reported := ""
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticks.C:
			}
			text := ""
			if err := server.Scrape(ctx); err != nil && ctx.Err() == nil {
				text = err.Error()
			}
			if text != reported && text != "" {
				fmt.Fprintln(os.Stderr, text)
			}
			reported = text
		}
	}()
	if err := listener.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
